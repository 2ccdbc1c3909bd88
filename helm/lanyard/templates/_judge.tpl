{{/* What a schema could only call a mismatch: each with what to write instead. */}}
{{- define "lanyard.judge" -}}
{{- $td := required "trustDomain is missing: the name with which every SPIFFE ID begins, such as ci.example.org" .Values.trustDomain }}
{{- if not (regexMatch "^[a-z0-9._-]{1,255}$" $td) }}
{{- fail (printf "trustDomain %q: write lower-case letters, digits, dots, dashes and underscores, without a scheme, such as ci.example.org" $td) }}
{{- end }}
{{- $url := required "gitlab.url is missing: as its users type it, such as https://gitlab.example.org" .Values.gitlab.url }}
{{- if not (regexMatch "^https://[^/?#@\\s]+(/[^?#\\s]*[^/?#\\s])?$" $url) }}
{{- fail (printf "gitlab.url %q: write https:// and the host, without a user, a query or a slash at the end, such as https://gitlab.example.org" $url) }}
{{- end }}
{{- with .Values.image }}
{{- if or (not .repository) (regexMatch "[@\\s]|:[^/]*$" .repository) }}
{{- fail (printf "image.repository %q: write the name alone; a tag goes into image.tag, a digest into image.digest" .repository) }}
{{- end }}
{{- if not (regexMatch "^[A-Za-z0-9_.-]{0,128}$" .tag) }}
{{- fail (printf "image.tag %q: no image has such a tag" .tag) }}
{{- end }}
{{- if not (regexMatch "^(sha256:[0-9a-f]{64})?$" .digest) }}
{{- fail (printf "image.digest %q: write sha256: and 64 hexadecimal digits" .digest) }}
{{- end }}
{{- end }}
{{- if not (regexMatch "^[1-9][0-9]*(Mi|Gi|Ti)$" .Values.storage.size) }}
{{- fail (printf "storage.size %q: write a number and Mi, Gi or Ti, such as 10Gi" .Values.storage.size) }}
{{- end }}
{{- if not (regexMatch "^[1-9][0-9]*[sm]$" .Values.monitoring.interval) }}
{{- fail (printf "monitoring.interval %q: write seconds or minutes, such as 30s" .Values.monitoring.interval) }}
{{- end }}
{{- range concat .Values.gateway.hostnames .Values.gateway.bundleHostnames .Values.names }}
{{- if not (regexMatch "^[A-Za-z0-9.:-]{1,253}$" .) }}
{{- fail (printf "%q is no name of a server: write a DNS name or an address, without a scheme or a path" .) }}
{{- end }}
{{- end }}
{{- if .Values.gateway.enabled }}
{{- if not .Values.gateway.parentRefs }}
{{- fail "gateway.parentRefs is missing: name the Gateway that has a TLS listener in mode Passthrough" }}
{{- end }}
{{- if not .Values.gateway.hostnames }}
{{- fail "gateway.hostnames is missing: by which name jobs come, such as lanyard.example.org" }}
{{- end }}
{{- range .Values.gateway.bundleHostnames }}
{{- if or (has . $.Values.gateway.hostnames) (not $.Values.bundle.enabled) }}
{{- fail (printf "gateway.bundleHostnames %q: a Gateway tells ports apart by name alone; write another than jobs use, and leave bundle.enabled on" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.bundle.ingress }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$|^$" .host) }}
{{- fail (printf "bundle.ingress.host %q: write a DNS name in lower case, without a scheme, a port or a path" .host) }}
{{- end }}
{{- if and (not .host) (or .className .annotations .tlsSecret) }}
{{- fail "bundle.ingress.host is missing: by which name readers of the trust bundle come, such as bundle.example.org" }}
{{- end }}
{{- if and .host (not $.Values.bundle.enabled) }}
{{- fail "bundle.ingress.host: there is no port for it; leave bundle.enabled on" }}
{{- end }}
{{- if has .host $.Values.gateway.hostnames }}
{{- fail (printf "bundle.ingress.host %q: jobs come by this name; write another" .host) }}
{{- end }}
{{- if and .host (not (or .annotations $.Values.service.annotations)) }}
{{- $words := ternary "nginx.ingress.kubernetes.io/backend-protocol: HTTPS" "nginx.ingress.kubernetes.io/ssl-passthrough: \"true\"" (ne .tlsSecret "") }}
{{- fail (printf "bundle.ingress.annotations is missing: the port has TLS, and a controller that is not told so speaks to it in the clear; such as %s" $words) }}
{{- end }}
{{- end }}
{{- range .Values.etcd.endpoints }}
{{- if not (regexMatch "^https?://[A-Za-z0-9._:\\[\\]-]+$" .) }}
{{- fail (printf "etcd.endpoints %q: write https://, the host and a port, such as https://etcd-1.corp.example:2379" .) }}
{{- end }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not (include "lanyard.shares" .)) }}
{{- fail (printf "etcd.endpoints is missing: %d replicas share an etcd; name its members, or leave replicas at 1" (int .Values.replicas)) }}
{{- end }}
{{- if and (include "lanyard.shares" .) (not (or .Values.sealingKeySecret (dig "keys" "sealing_key_file" "" .Values.config))) }}
{{- fail "sealingKeySecret is missing: replicas open the same signing keys, so they need the same key: head -c 32 /dev/urandom > sealing.key, and a Secret of it" }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not (include "lanyard.givenCertificate" .)) }}
{{- fail "tlsSecret is missing: each replica would make a door CA of its own, and clients know one; name a Secret with tls.crt and tls.key" }}
{{- end }}
{{- if and (include "lanyard.shares" .) (dig "checkpoints" "replica" "" .Values.config) }}
{{- fail "config.checkpoints.replica: the chart says this; a replica is called after its pod" }}
{{- end }}
{{- range list "trust_domain" "data_dir" "policy_file" }}
{{- if hasKey $.Values.config . }}
{{- fail (printf "config.%s: the chart says this; %s" . (dict "trust_domain" "set trustDomain" "data_dir" "the volume has its place" "policy_file" "write the rules into policy" | dig . "")) }}
{{- end }}
{{- end }}
{{- range list "data" "config" "gitlab" "sealing" "tls" "etcd" }}
{{- $taken := . }}
{{- range $.Values.extraVolumes }}
{{- if eq .name $taken }}{{ fail (printf "extraVolumes: the name %q is the chart's own" $taken) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
