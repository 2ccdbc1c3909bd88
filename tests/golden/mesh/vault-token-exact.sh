# for rule "the registry"
vault policy write registry - <<'END'
path "secret/data/registry" {
  capabilities = ["read"]
}
END
vault write auth/jwt/role/registry - <<'END'
{
  "role_type": "jwt",
  "user_claim": "project_id",
  "bound_audiences": [
    "https://vault.example.org"
  ],
  "bound_subject": "spiffe://ci.example.org/projects/4730/-/registry",
  "bound_claims_type": "string",
  "bound_claims": {
    "sub": [
      "spiffe://ci.example.org/projects/4730/-/registry"
    ]
  },
  "expiration_leeway": 1,
  "not_before_leeway": 1,
  "clock_skew_leeway": 30,
  "token_policies": [
    "registry"
  ],
  "token_ttl": "600s",
  "token_max_ttl": "3600s"
}
END
