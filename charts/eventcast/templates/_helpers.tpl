{{/* Names, labels and images. */}}

{{- define "eventcast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Prefix of all objects. 40 characters leave room for the longest ending and for the names of pods. */}}
{{- define "eventcast.fullname" -}}
{{- $name := include "eventcast.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Labels by which pods are selected. Call with (dict "root" $ "component" "operator"). */}}
{{- define "eventcast.selector" -}}
app.kubernetes.io/name: {{ include "eventcast.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of objects; called as eventcast.selector, with labels of the user in "extra" where there are any. */}}
{{- define "eventcast.labels" -}}
{{- $own := include "eventcast.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "eventcast" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels (.extra | default dict) $own | toYaml -}}
{{- end }}

{{/* Labels of pods, called alike. Without versions: a pod is not to restart because the chart has a new one. */}}
{{- define "eventcast.podLabels" -}}
{{- $own := include "eventcast.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "eventcast" -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels .extra $own | toYaml -}}
{{- end }}

{{/* An image reference. Call with (dict "root" $ "image" .Values.image). */}}
{{- define "eventcast.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- $name := ternary (printf "%s/%s" $registry .image.repository) .image.repository (ne $registry "") -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "eventcast.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (printf "%s-operator" (include "eventcast.fullname" .)) -}}
{{- end }}
