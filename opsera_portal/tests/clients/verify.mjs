// Verifies a token, and an introspection answer about it, with the published keys, as a service in JavaScript does.
// Reads one JSON object, and prints the claims of both and why each is refused in place of the other.
import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";

const { jwks, issuer, audience, clientId, token, introspection } = JSON.parse(readFileSync(0, "utf8"));
const keys = createLocalJWKSet(jwks);
const asToken = { issuer, audience, typ: "at+jwt", requiredClaims: ["exp", "sub", "jti", "scope"] };
const asAnswer = { issuer, audience: clientId, typ: "token-introspection+jwt" };

const claims = async (signed, expected) => (await jwtVerify(signed, keys, expected)).payload;
const refusal = (signed, expected) => claims(signed, expected).then(() => "", (error) => error.code);

console.log(
  JSON.stringify({
    token: await claims(token, asToken),
    introspection: await claims(introspection, asAnswer),
    refused: [
      await refusal(introspection, asToken),
      await refusal(token, asAnswer),
      await refusal(token, { ...asToken, audience: "https://other.example.com" }),
    ],
  }),
);
