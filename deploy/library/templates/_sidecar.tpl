{{/*
The sidecar by hand, in four pieces: credential-relay.sidecar, .volumes, .env and .volumeMounts.

Each is called with a dict:

  settings    the chart's values for it, below
  container   with .env and .volumeMounts: the container's name
  noProxy     with .env, if the container has one: what its NO_PROXY says beside

and these are the settings:

  image          repository (required), tag (the library's appVersion), digest, pullPolicy
  configuration  the relay's configuration, as in docs/configuration.md, without `access`
  containers     which container, or init container after the sidecar, has which profile: a map of names
  tokens         projected service-account tokens: name, audience, expirationSeconds (600);
                 the configuration finds each as /var/run/secrets/credential-relay/tokens/<name>
  mounts         ConfigMaps and Secrets, such as a CA: configMap or secret, and mountPath
  env            a map of further variables of the sidecar
  resources, runAsUser (65532, or null for the platform's own), startupFailureThreshold (300)
  execProbes     true in a pod with a service mesh's proxy, which would stand between the kubelet and a probe by HTTP (false)
*/}}

{{- define "credential-relay.sidecar" -}}
{{- $settings := include "credential-relay.checked" . | fromYaml -}}
- name: credential-relay
  image: {{ $settings.image.reference }}
  imagePullPolicy: {{ default "IfNotPresent" $settings.image.pullPolicy }}
  restartPolicy: Always
  args: [serve]
  env:
    - name: POD_NAME
      valueFrom: { fieldRef: { fieldPath: metadata.name } }
    - name: POD_NAMESPACE
      valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
    - name: POD_SERVICE_ACCOUNT
      valueFrom: { fieldRef: { fieldPath: spec.serviceAccountName } }
    - { name: CREDENTIAL_RELAY_NATIVE_SIDECAR, value: "true" }
    {{- range $name, $value := $settings.env }}
    - { name: {{ $name }}, value: {{ $value | toString | quote }} }
    {{- end }}
    # Kubernetes takes $$ for $, and $(NAME) for a variable.
    - name: CREDENTIAL_RELAY_CONFIG_TEXT
      value: {{ include "credential-relay.configurationText" . | replace "$" "$$" | quote }}
  ports:
    - { name: relay-admin, containerPort: {{ int64 $settings.adminPort }}, protocol: TCP }
  startupProbe:
    {{- include "credential-relay.probe" (list $settings "startup") | nindent 4 }}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: {{ default 300 $settings.startupFailureThreshold }}
  livenessProbe:
    {{- include "credential-relay.probe" (list $settings "live") | nindent 4 }}
    timeoutSeconds: 5
  resources:
    {{- default (dict "requests" (dict "cpu" "5m" "memory" "16Mi") "limits" (dict "cpu" "500m" "memory" "32Mi")) $settings.resources | toYaml | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    {{- if not (kindIs "invalid" (dig "runAsUser" 65532 $settings)) }}
    runAsUser: {{ dig "runAsUser" 65532 $settings | int64 }}
    runAsGroup: {{ dig "runAsUser" 65532 $settings | int64 }}
    {{- end }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    - { name: credential-relay-run, mountPath: /run/credential-relay }
    {{- range $container := keys $settings.containers | sortAlpha }}
    - { name: {{ include "credential-relay.accessVolume" $container }}, mountPath: /run/credential-relay/access/{{ $container }} }
    {{- end }}
    {{- if $settings.tokens }}
    - { name: credential-relay-tokens, mountPath: /var/run/secrets/credential-relay/tokens, readOnly: true }
    {{- end }}
    {{- range $index, $mount := $settings.mounts }}
    - { name: credential-relay-mount-{{ $index }}, mountPath: {{ $mount.mountPath }}, readOnly: true }
    {{- end }}
{{- end -}}

{{- define "credential-relay.volumes" -}}
{{- $settings := include "credential-relay.checked" . | fromYaml -}}
- name: credential-relay-run
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- range $container := keys $settings.containers | sortAlpha }}
- name: {{ include "credential-relay.accessVolume" $container }}
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- end }}
{{- with $settings.tokens }}
- name: credential-relay-tokens
  projected:
    sources:
      {{- range . }}
      - serviceAccountToken: { path: {{ .name }}, audience: {{ .audience | quote }}, expirationSeconds: {{ default 600 .expirationSeconds | int64 }} }
      {{- end }}
{{- end }}
{{- range $index, $mount := $settings.mounts }}
- name: credential-relay-mount-{{ $index }}
  {{- if $mount.configMap }}
  configMap: { name: {{ $mount.configMap }} }
  {{- else }}
  secret: { secretName: {{ required "mounts: each needs configMap or secret" $mount.secret }} }
  {{- end }}
{{- end }}
{{- end -}}

{{- define "credential-relay.env" -}}
{{- $settings := include "credential-relay.checked" . | fromYaml -}}
{{- $profile := include "credential-relay.profileOf" . -}}
{{- $local := "127.0.0.1,localhost" -}}
{{- with .noProxy }}{{ $local = printf "%s,%s" . $local }}{{ end -}}
- { name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: "http://{{ $settings.address }}/v1/credentials/{{ $profile }}" }
- { name: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, value: /var/run/secrets/credential-relay/token }
- { name: AWS_EC2_METADATA_DISABLED, value: "true" }
- { name: NO_PROXY, value: {{ $local | quote }} }
- { name: no_proxy, value: {{ $local | quote }} }
{{- end -}}

{{- define "credential-relay.volumeMounts" -}}
{{- $profile := include "credential-relay.profileOf" . -}}
- { name: {{ include "credential-relay.accessVolume" .container }}, mountPath: /var/run/secrets/credential-relay, readOnly: true }
{{- end -}}
