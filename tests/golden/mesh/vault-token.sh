# for rule "tokens only"
vault policy write deploy - <<'END'
path "secret/data/deploy" {
  capabilities = ["read"]
}
END
vault write auth/jwt/role/deploy - <<'END'
{
  "role_type": "jwt",
  "user_claim": "sub",
  "bound_audiences": [
    "https://vault.example.org"
  ],
  "bound_claims_type": "glob",
  "bound_claims": {
    "sub": [
      "spiffe://ci.example.org/acme/payments/api/-/tokens/pipelines/*"
    ]
  },
  "expiration_leeway": 1,
  "not_before_leeway": 1,
  "clock_skew_leeway": 30,
  "token_policies": [
    "deploy",
    "shared"
  ],
  "token_ttl": "600s",
  "token_max_ttl": "3600s"
}
END
