{{- define "ayaflow.selector" -}}
app.kubernetes.io/name: ayaflow-exporter
{{- end }}
{{- define "ayaflow.labels" -}}
{{ include "ayaflow.selector" . }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of a probe, after its port; kubelet does not verify the certificate. */}}
{{- define "ayaflow.probeScheme" -}}
{{ if ne .Values.web.probeScheme "HTTP" }}, scheme: {{ .Values.web.probeScheme }}{{ end }}
{{- end }}
