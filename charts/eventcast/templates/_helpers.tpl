{{/* Names, labels and images. */}}

{{/* Values that are not set or null get their default: also new ones, in an upgrade with --reuse-values. Every template begins with it.
     files/defaults.json is values.yaml, without the keys of mappings from which `null` removes a key. */}}
{{- define "eventcast.defaults" -}}
{{- include "eventcast.fill" (dict "values" .Values "defaults" (.Files.Get "files/defaults.json" | fromJson)) -}}
{{- end }}

{{- define "eventcast.fill" -}}
{{- $values := .values -}}
{{- range $key, $default := .defaults -}}
{{- if kindIs "invalid" (index $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if kindIs "map" $default -}}
{{- include "eventcast.fill" (dict "values" (index $values $key) "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* At most 40 characters: this leaves room for the longest suffix and for the suffixes of pods. */}}
{{- define "eventcast.short" -}}
{{- trunc 40 . | regexFind "^.*[a-z0-9]" -}}
{{- end }}

{{- define "eventcast.name" -}}
{{- default .Chart.Name .Values.nameOverride | include "eventcast.short" -}}
{{- end }}

{{/* Prefix of the names of all objects. Those of Services contain no dot and begin with a letter; names of releases may be otherwise. */}}
{{- define "eventcast.fullname" -}}
{{- $name := include "eventcast.name" . -}}
{{- $full := .Release.Name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if not (contains $name .Release.Name) -}}
{{- $full = printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- $full = replace "." "-" $full -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- $full = printf "eventcast-%s" (trimSuffix "-eventcast" $full) -}}
{{- end -}}
{{- include "eventcast.short" $full -}}
{{- end }}

{{/* Labels that select pods. Call with (dict "root" $ "component" "operator"). */}}
{{- define "eventcast.selector" -}}
app.kubernetes.io/name: {{ include "eventcast.name" .root | quote }}
app.kubernetes.io/instance: {{ quote .root.Release.Name }}
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

{{/* Image pull secrets of the pods of this chart; nothing without any. Other charts have names in global.imagePullSecrets. */}}
{{- define "eventcast.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with uniq $secrets }}
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
