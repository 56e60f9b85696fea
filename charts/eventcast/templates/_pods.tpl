{{/* Settings of all pods of this chart. */}}

{{/* Security context of a pod. OpenShift assigns user and groups itself and rejects pods that ask for others.
     Call with (dict "root" $ "context" .Values.podSecurityContext). */}}
{{- define "eventcast.podSecurity" -}}
{{- $assigned := list -}}
{{- if .root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- $assigned = list "runAsUser" "runAsGroup" "fsGroup" "fsGroupChangePolicy" -}}
{{- end -}}
{{- range $key, $value := .context }}
{{- if not (has $key $assigned) }}
{{ toYaml (dict $key $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Scheduling of a pod, and further fields. Call with .Values or .Values.nats. */}}
{{- define "eventcast.scheduling" -}}
{{- with .podSpec }}
{{ toYaml . }}
{{- end }}
{{- range $field := list "priorityClassName" "nodeSelector" "tolerations" }}
{{- with index $ $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
