{{/* Names. 52 characters leave room for the suffix: a Service has 63 for its name. */}}
{{- define "credential-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "credential-relay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "credential-relay.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "credential-relay.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The injector's Service, Lease, Deployment, webhook configuration and roles. */}}
{{- define "credential-relay.injector" -}}
{{- include "credential-relay.fullname" . }}-injector
{{- end -}}

{{/* Cluster-wide objects: two releases of one name may stand in two namespaces. */}}
{{- define "credential-relay.clusterName" -}}
{{- $name := include "credential-relay.injector" . -}}
{{- if eq .Release.Namespace (include "credential-relay.fullname" .) -}}
{{- $name -}}
{{- else -}}
{{- printf "%s.%s" $name .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- define "credential-relay.tlsSecret" -}}
{{- if eq .Values.certificates.mode "secret" -}}
{{- required "certificates.secret.name is missing: with certificates.mode secret, name the Secret that has tls.crt and tls.key" .Values.certificates.secret.name -}}
{{- else if eq .Values.certificates.mode "certManager" -}}
{{- /* Another name than the injector's own: a Secret's type cannot change when the mode does. */ -}}
{{- include "credential-relay.injector" . }}-cert-manager
{{- else -}}
{{- include "credential-relay.injector" . }}-tls
{{- end -}}
{{- end -}}

{{- define "credential-relay.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "credential-relay.injector" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is missing: with serviceAccount.create false, name the one to use" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "credential-relay.image" -}}
{{- $repository := required "image.repository is missing: there is no public image, so name the repository that yours was pushed to, such as --set image.repository=registry.example/credential-relay" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A duration such as 1h30m, in hours. */}}
{{- define "credential-relay.hours" -}}
{{- $each := dict "ms" 3600000.0 "s" 3600.0 "m" 60.0 "h" 1.0 -}}
{{- $hours := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $hours = addf $hours (divf (trimSuffix $unit . | float64) (get $each $unit)) -}}
{{- end -}}
{{- $hours -}}
{{- end -}}

{{/* What a Deployment or a Service selects by: never more, since a Deployment's selector cannot change. */}}
{{- define "credential-relay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "credential-relay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: injector
{{- end -}}

{{/* As a map: of two labels of one name the first counts, so nothing changes what is selected by. */}}
{{- define "credential-relay.labels" -}}
{{- $own := dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "credential-relay"
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (merge (include "credential-relay.selectorLabels" . | fromYaml) .Values.commonLabels $own) -}}
{{- end -}}

{{/* An object's metadata below its name: called with (list $ labels annotations), each of the two a map of more of them. */}}
{{- define "credential-relay.metadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- toYaml (merge (include "credential-relay.labels" $root | fromYaml) (index . 1)) | nindent 2 }}
{{- with merge (dict) (index . 2) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
