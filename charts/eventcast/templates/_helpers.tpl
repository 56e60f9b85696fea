{{/* Names, labels and images. */}}

{{- define "eventcast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Prefix of the names of all objects. 40 characters leave room for the longest suffix and for the suffixes of pods. */}}
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

{{/* Labels that select pods. Call with (dict "root" $ "component" "operator"). */}}
{{- define "eventcast.selector" -}}
app.kubernetes.io/name: {{ include "eventcast.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of objects. Call like eventcast.selector, with optional further labels in "extra". */}}
{{- define "eventcast.labels" -}}
{{- $own := include "eventcast.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "eventcast" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels (.extra | default dict) $own | toYaml -}}
{{- end }}

{{/* The block `annotations` of an object; nothing without any. Call with (dict "root" $), with optional further annotations in "extra". */}}
{{- define "eventcast.annotations" -}}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.extra | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Image pull secrets of the pods of this chart; nothing without any. */}}
{{- define "eventcast.pullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels of pods. Call like eventcast.labels. Without versions, so that an upgrade of the chart alone restarts no pod. */}}
{{- define "eventcast.podLabels" -}}
{{- $own := include "eventcast.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "eventcast" -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels .extra $own | toYaml -}}
{{- end }}

{{/* Image reference. Call with (dict "root" $ "image" .Values.image). */}}
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
