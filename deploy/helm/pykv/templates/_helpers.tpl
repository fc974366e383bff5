{{- define "pykv.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pykv.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pykv.labels" -}}
{{ include "pykv.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The pod of `helm test`: nothing that selects the server may select it. */}}
{{- define "pykv.testSelector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pykv.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* What nobody should leave undecided. */}}
{{- define "pykv.check" -}}
{{- $config := .Values.config -}}
{{- $optional := eq "optional" (toString (dig "tls" "client_certificates" "required" $config)) -}}
{{- if not (or .Values.auth.tokensSecret (and .Values.tls.clientCertificates (not $optional)) .Values.insecure.allowAnonymous) -}}
{{- fail "nobody would have to prove who they are: set auth.tokensSecret, tls.clientCertificates, or insecure.allowAnonymous=true if something else sees to that" -}}
{{- end -}}
{{- if not (or .Values.tls.secretName .Values.insecure.allowPlaintext) -}}
{{- fail "everybody on the way could read what is said: set tls.secretName, or insecure.allowPlaintext=true if a mesh encrypts" -}}
{{- end -}}
{{- if and .Values.tls.clientCertificates (not .Values.tls.secretName) -}}
{{- fail "tls.clientCertificates needs tls.secretName, whose ca.crt vouches for callers" -}}
{{- end -}}
{{- range $key, $instead := dict "listen" "service.port" "admin_listen" "service.port" "data_dir" "persistence" "tokens_file" "auth.tokensSecret" "insecure_allow_anonymous" "insecure.allowAnonymous" "insecure_allow_plaintext" "insecure.allowPlaintext" -}}
{{- if hasKey $config $key -}}
{{- fail (printf "config.%s is the chart's own to set: use %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "cert_file" "key_file" "client_ca_file" -}}
{{- if hasKey (default dict $config.tls) $key -}}
{{- fail (printf "config.tls.%s is the chart's own to set: use tls.secretName and tls.clientCertificates" $key) -}}
{{- end -}}
{{- end -}}
{{- with $config.max_total_bytes -}}
{{- if gt (mul 4 (include "pykv.bytes" . | int64)) (mul 3 (include "pykv.bytes" $.Values.resources.limits.memory | int64)) -}}
{{- fail (printf "config.max_total_bytes (%s) is above three quarters of resources.limits.memory (%s), and the kernel would end the server: raise the limit, or leave max_total_bytes out for half of it" . $.Values.resources.limits.memory) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A whole number of KiB, MiB or GiB, with the B or without, in bytes; the schema lets nothing else through. */}}
{{- define "pykv.bytes" -}}
{{- $unit := get (dict "K" 1024 "M" 1048576 "G" 1073741824) (regexFind "[KMG]" .) -}}
{{- mul $unit (regexFind "^[0-9]+" . | int64) -}}
{{- end -}}

{{- define "pykv.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
