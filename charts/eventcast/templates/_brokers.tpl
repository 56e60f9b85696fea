{{/* The file of --broker-defaults: what the brokers of all channels have in common. */}}
{{- define "eventcast.brokerDefaults" -}}
{{- $brokers := .Values.brokers -}}
{{- $file := dict "log" (dict "format" $brokers.log.format "access" $brokers.log.access) "metrics" $brokers.metrics -}}
{{- with $brokers.log.level }}{{ $_ := set $file.log "level" . }}{{ end -}}
{{- range $key := list "labels" "annotations" "inheritLabels" "inheritAnnotations" "podTemplate" "limits" "query" -}}
{{- with index $brokers $key }}{{ $_ := set $file $key . }}{{ end -}}
{{- end -}}
{{- $otlp := dict -}}
{{- with $brokers.telemetry.otlp.endpoint }}{{ $_ := set $otlp "endpoint" . }}{{ end -}}
{{- $ratio := $brokers.telemetry.otlp.sampleRatio -}}
{{- if ne (toString $ratio) "" }}{{ $_ := set $otlp "sampleRatio" $ratio }}{{ end -}}
{{- with $otlp }}{{ $_ := set $file "telemetry" (dict "otlp" .) }}{{ end -}}
{{- $monitor := dict -}}
{{- range $key, $value := $brokers.podMonitor -}}
{{- with $value }}{{ $_ := set $monitor $key . }}{{ end -}}
{{- end -}}
{{- $_ := set $file "podMonitor" $monitor -}}
{{- $policy := dict -}}
{{- range $key, $value := $brokers.networkPolicy -}}
{{- with $value }}{{ $_ := set $policy $key . }}{{ end -}}
{{- end -}}
{{- /* the operator asks brokers for their status once a minute */}}
{{- with $policy.metricsFrom -}}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" $.Release.Namespace) -}}
{{- $pods := dict "matchLabels" (include "eventcast.selector" (dict "root" $ "component" "operator") | fromYaml) -}}
{{- $_ := set $policy "metricsFrom" (prepend . (dict "namespaceSelector" $namespace "podSelector" $pods)) -}}
{{- end -}}
{{- with $policy }}{{ $_ := set $file "networkPolicy" . }}{{ end -}}
{{- toYaml $file -}}
{{- end }}
