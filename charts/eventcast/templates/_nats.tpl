{{/* Servers of the bundled or the existing NATS. */}}

{{- define "eventcast.nats.name" -}}
{{- printf "%s-nats" (include "eventcast.fullname" .) -}}
{{- end }}

{{- define "eventcast.nats.servers" -}}
{{- if .Values.nats.enabled -}}
{{- printf "%s://%s.%s.svc.%s:4222" (ternary "tls" "nats" (ne .Values.nats.tls.existingSecret "")) (include "eventcast.nats.name" .) .Release.Namespace .Values.cluster.domain -}}
{{- else -}}
{{- join "," .Values.externalNats.servers -}}
{{- end -}}
{{- end }}

{{/* Name of the Secret with the credentials; empty without credentials. */}}
{{- define "eventcast.nats.secret" -}}
{{- if not .Values.nats.enabled -}}
{{- .Values.externalNats.existingSecret -}}
{{- else if .Values.nats.auth.existingSecret -}}
{{- .Values.nats.auth.existingSecret -}}
{{- else if .Values.nats.auth.password -}}
{{- printf "%s-auth" (include "eventcast.nats.name" .) -}}
{{- end -}}
{{- end }}

{{/* Name of the Secret with the certificate of the bundled NATS; empty without TLS. */}}
{{- define "eventcast.nats.tlsSecret" -}}
{{- if .Values.nats.enabled }}{{ .Values.nats.tls.existingSecret }}{{ end -}}
{{- end }}

{{/* Whether operator and brokers need files to connect: text if so. */}}
{{- define "eventcast.nats.hasFiles" -}}
{{- include "eventcast.nats.secret" . -}}{{- include "eventcast.nats.tlsSecret" . -}}
{{- end }}

{{/* The used keys of that Secret, as {password|token|credentials|ca|certificate|key: <key in the Secret>}. */}}
{{- define "eventcast.nats.keys" -}}
{{- $keys := dict -}}
{{- if include "eventcast.nats.secret" . -}}
{{- $named := .Values.externalNats.keys -}}
{{- if .Values.nats.enabled -}}
{{- $auth := .Values.nats.auth -}}
{{- $named = dict "password" (ternary $auth.existingSecretKey "password" (ne $auth.existingSecret "")) -}}
{{- end -}}
{{- range $kind, $key := $named -}}
{{- if $key }}{{ $_ := set $keys $kind $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if include "eventcast.nats.tlsSecret" . }}{{ $_ := set $keys "ca" "ca.crt" }}{{ end -}}
{{- toYaml $keys -}}
{{- end }}

{{/* The user of the password. */}}
{{- define "eventcast.nats.user" -}}
{{- if hasKey (include "eventcast.nats.keys" . | fromYaml) "password" -}}
{{- ternary .Values.nats.auth.user .Values.externalNats.user .Values.nats.enabled -}}
{{- end -}}
{{- end }}

{{/* Configuration of the bundled NATS. */}}
{{- define "eventcast.nats.config" -}}
server_name: {{ include "eventcast.nats.name" . }}
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
# the largest valid publishing.maxEventBytes, 8 MiB, and headers
max_payload: {{ .Values.nats.maxPayload }}
jetstream {
  store_dir: /data
  max_file_store: {{ .Values.nats.storage.maxFileStore }}
  max_memory_store: {{ .Values.nats.maxMemoryStore }}
  # when acknowledged events are synced to disk
  sync_interval: {{ .Values.nats.syncInterval }}
  {{- range $key, $value := .Values.nats.config.merge.jetstream }}
  {{ $key }}: {{ toJson $value }}
  {{- end }}
}
{{- if include "eventcast.nats.tlsSecret" . }}
tls {
  cert_file: /etc/nats-tls/tls.crt
  key_file: /etc/nats-tls/tls.key
}
{{- end }}
{{- if include "eventcast.nats.secret" . }}
authorization {
  user: {{ quote .Values.nats.auth.user }}
  # from an environment variable that contains quotes
  password: $NATS_PASSWORD_QUOTED
}
{{- end }}
{{- range $key, $value := omit .Values.nats.config.merge "jetstream" }}
{{ $key }}: {{ toJson $value }}
{{- end }}
{{- end }}
