# for rule "payments, production deploys"
# for rule "billing: \"nightly\" # and 'more'"
vault policy write deploy - <<'END'
path "secret/data/deploy" {
  capabilities = ["read"]
}
path "secret/data/payments/*" {
  capabilities = ["read"]
}
END
vault write auth/cert/certs/deploy - <<'END'
{
  "certificate": "-----BEGIN CERTIFICATE-----\nMIIB1jCCAX2gAwIBAgIUc9+LeGMvd0DvJVCTUPEkwK9qBlswCgYIKoZIzj0EAwIw\nJTEQMA4GA1UECgwHTGFueWFyZDERMA8GA1UEAwwIb2xkIHJvb3QwIBcNMjYxMTIx\nMTkzNzMzWhgPMjEyNjEwMjgxOTM3MzNaMCUxEDAOBgNVBAoMB0xhbnlhcmQxETAP\nBgNVBAMMCG9sZCByb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETo4fAm5o\nESqkYvcOcBo5/ulHoNeMqdwgbJZig3PU9LpkAilG6r/cPZG+tghY69jUKm3umB1X\npZ8Ug35Lf1EqGqOBiDCBhTAdBgNVHQ4EFgQUSXmM7Bwbu4c7YQfE8Izo3iXRpSIw\nHwYDVR0jBBgwFoAUSXmM7Bwbu4c7YQfE8Izo3iXRpSIwDwYDVR0TAQH/BAUwAwEB\n/zAOBgNVHQ8BAf8EBAMCAQYwIgYDVR0RBBswGYYXc3BpZmZlOi8vY2kuZXhhbXBs\nZS5vcmcwCgYIKoZIzj0EAwIDRwAwRAIgcfgAKKtDoz/tIbHfN9fsco02sUbw6Gg6\nCI2Mepi708ECIGKRBsBiJTHwD5RPwYhmM4hk1uf2iRx3o+Z5H0+94UaM\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nMIIB1jCCAX2gAwIBAgIUfZh7hYTetNcQON4p5l/cNtGNjaMwCgYIKoZIzj0EAwIw\nJTEQMA4GA1UECgwHTGFueWFyZDERMA8GA1UEAwwIbmV3IHJvb3QwIBcNMjYxMTIx\nMTkzNzMzWhgPMjEyNjEwMjgxOTM3MzNaMCUxEDAOBgNVBAoMB0xhbnlhcmQxETAP\nBgNVBAMMCG5ldyByb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnG/Y1P9D\nRrfZG8/4i/eUlLtC+d1zLJwq8GhdX4SyfBzy6V35mp+xaiapxTj9AKk9/B/4dH4Q\n4/Uj8ZxjjWeyKKOBiDCBhTAdBgNVHQ4EFgQUT6YKyb/9LIM+Lqe0n3Thd0hktTww\nHwYDVR0jBBgwFoAUT6YKyb/9LIM+Lqe0n3Thd0hktTwwDwYDVR0TAQH/BAUwAwEB\n/zAOBgNVHQ8BAf8EBAMCAQYwIgYDVR0RBBswGYYXc3BpZmZlOi8vY2kuZXhhbXBs\nZS5vcmcwCgYIKoZIzj0EAwIDRwAwRAIgT416QAuG53IjCSrNNwuuHwmh8vBuZysh\nSQhJq0M5aBkCIAGkHn+KPdxm9bp2D30/XIIM1U6G9iWKlSf6PkCIiBdB\n-----END CERTIFICATE-----\n",
  "allowed_uri_sans": [
    "spiffe://ci.example.org/acme/payments/api/-/environments/production/pipelines/*",
    "spiffe://ci.example.org/projects/4720/-/nightly/pipelines/*"
  ],
  "token_policies": [
    "deploy"
  ],
  "token_ttl": "600s",
  "token_max_ttl": "3600s"
}
END
