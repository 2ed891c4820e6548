{{/* What the four pieces share; not for others to call. */}}

{{/* The settings as YAML, with the image's reference and the endpoint's address, or a message that says what is wrong. */}}
{{- define "credential-relay.checked" -}}
{{- $settings := deepCopy (required "credential-relay: settings is missing" .settings) -}}
{{- $image := default dict $settings.image -}}
{{- $repository := required "credential-relay: image.repository is missing: there is no public image, so name the repository that yours was pushed to" $image.repository -}}
{{- $version := "0.1.0" -}}
{{- $reference := printf "%s:%s" $repository (default $version $image.tag) -}}
{{- if $image.digest }}{{ $reference = printf "%s@%s" $repository $image.digest }}{{ end -}}
{{- $profiles := dig "configuration" "profiles" dict $settings -}}
{{- if not $profiles }}{{ fail "credential-relay: configuration.profiles is missing: it says what credentials there are" }}{{ end -}}
{{- if not $settings.containers }}{{ fail "credential-relay: containers is missing: it says which container has which profile, such as { app: payments }" }}{{ end -}}
{{- range $container, $profile := $settings.containers -}}
{{- if not (hasKey $profiles $profile) -}}
{{- fail (printf "credential-relay: containers.%s: there is no profile %q in configuration.profiles; there is %s" $container $profile (keys $profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- range $profile, $what := $profiles -}}
{{- if dig "access" dict $what -}}
{{- fail (printf "credential-relay: configuration.profiles.%s.access: leave it out, the containers decide it" $profile) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $settings "image" (merge (dict "reference" $reference) $image) -}}
{{- $_ := set $settings "address" (dig "configuration" "endpoint" "listen" "127.0.0.1:9531" $settings) -}}
{{- $admin := dig "configuration" "admin" "listen" "0.0.0.0:9532" $settings -}}
{{- if and (not $settings.execProbes) (regexMatch "^(127\\.|\\[::1\\])" $admin) -}}
{{- fail (printf "credential-relay: configuration.admin.listen is %s: the kubelet asks at the pod's own address, so listen at 0.0.0.0, or set execProbes" $admin) -}}
{{- end -}}
{{- $_ := set $settings "adminPort" (regexFind "[0-9]+$" $admin | int) -}}
{{- if not $settings.adminPort }}{{ fail (printf "credential-relay: configuration.admin.listen is %s: name a port, since the pod's specification must" $admin) }}{{ end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* What the kubelet asks: called with (list settings startup|live). */}}
{{- define "credential-relay.probe" -}}
{{- $name := index . 1 -}}
{{- if (index . 0).execProbes -}}
exec: { command: [/credential-relay, healthcheck, --probe, {{ $name }}] }
{{- else -}}
httpGet: { path: /{{ $name }}z, port: relay-admin }
{{- end -}}
{{- end -}}

{{/* The relay's configuration, with the access tokens of the containers: each has a file of its own. */}}
{{- define "credential-relay.configurationText" -}}
{{- $settings := .settings -}}
{{- $configuration := deepCopy $settings.configuration -}}
{{- range $profile, $what := $configuration.profiles -}}
{{- $files := list -}}
{{- range $container := keys $settings.containers | sortAlpha -}}
{{- if eq (get $settings.containers $container) $profile }}{{ $files = append $files (printf "/run/credential-relay/access/%s/token" $container) }}{{ end -}}
{{- end -}}
{{- if $files -}}
{{- $access := dict "token_file" (first $files) -}}
{{- with rest $files }}{{ $_ := set $access "more_token_files" . }}{{ end -}}
{{- $_ := set $what "access" $access -}}
{{- end -}}
{{- end -}}
{{- toYaml $configuration -}}
{{- end -}}

{{- define "credential-relay.profileOf" -}}
{{- $container := required "credential-relay: container is missing: name the container whose variables or mounts these are" .container -}}
{{- required (printf "credential-relay: containers.%s is missing: it says which profile that container has" $container) (get (default dict .settings.containers) $container) -}}
{{- end -}}

{{/* A volume's name has 63 characters at most, and so has a container's. */}}
{{- define "credential-relay.accessVolume" -}}
{{- if gt (len .) 39 -}}
credential-relay-access-{{ trunc 28 . | trimSuffix "-" }}-{{ sha256sum . | trunc 10 }}
{{- else -}}
credential-relay-access-{{ . }}
{{- end -}}
{{- end -}}
