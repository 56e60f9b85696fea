{{/* Settings of all pods of this chart. */}}

{{/* Security context by the restricted Pod Security Standard. 65532 is the user "nonroot" of distroless images. */}}
{{- define "eventcast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "eventcast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Scheduling of a pod. Call with .Values or .Values.nats. */}}
{{- define "eventcast.scheduling" -}}
{{- range $field := list "priorityClassName" "nodeSelector" "tolerations" }}
{{- with index $ $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
