{{- define "ayaflow.selector" -}}
app.kubernetes.io/name: ayaflow-exporter
{{- end }}
{{- define "ayaflow.labels" -}}
{{ include "ayaflow.selector" . }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
