{{/* The injector's configuration. Below sidecar, relay, inline, profiles and policy it is what the values say, untouched. */}}
{{- define "credential-relay.configuration" -}}
{{- $image := include "credential-relay.image" . -}}
{{- $sidecar := merge (dict) (default dict .Values.sidecar) (dict "image" $image "image_pull_policy" .Values.image.pullPolicy) -}}
listen: {{ include "credential-relay.address" (list .Values.injector.address .Values.injector.port) }}
admin:
  listen: {{ include "credential-relay.address" (list .Values.injector.address .Values.injector.adminPort) }}
certificates:
  {{- if eq .Values.certificates.mode "selfManaged" }}
  self_managed:
    namespace: {{ .Release.Namespace | quote }}
    service: {{ include "credential-relay.injector" . }}
    secret: {{ include "credential-relay.tlsSecret" . }}
    lease: {{ include "credential-relay.injector" . }}
    webhook: {{ include "credential-relay.clusterName" . }}
    lifetime: {{ .Values.certificates.selfManaged.lifetime }}
  {{- else }}
  files:
    cert: /etc/credential-relay-tls/tls.crt
    key: /etc/credential-relay-tls/tls.key
  {{- end }}
sidecar:
  {{- toYaml $sidecar | nindent 2 }}
{{- with .Values.relay }}
relay:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.inline }}
inline:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.profiles }}
profiles:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if not .Values.policy }}
{{- fail "policy is missing: a pod gets nothing that no rule allows, so say who may use which profile, such as policy: [{ namespaces: [payments], profiles: [payments] }]" }}
{{- end }}
{{- with .Values.policy }}
policy:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Called with (list address port). */}}
{{- define "credential-relay.address" -}}
{{- $address := index . 0 -}}
{{- if contains ":" $address }}{{ $address = printf "[%s]" (trimAll "[]" $address) }}{{ end -}}
{{- printf "%s:%d" $address (int (index . 1)) | quote -}}
{{- end -}}
