// Checks access tokens by jsonwebtoken. It fetches no keys itself, and knows no EdDSA.
import { createPublicKey } from "node:crypto";
import { createInterface } from "node:readline";
import jsonwebtoken from "jsonwebtoken";

const [url, issuer, audience] = process.argv.slice(2);
const { keys } = await (await fetch(url)).json();
for await (const token of createInterface({ input: process.stdin })) {
  try {
    const { kid } = jsonwebtoken.decode(token, { complete: true }).header;
    const key = createPublicKey({ key: keys.find((key) => key.kid === kid), format: "jwk" });
    const claims = jsonwebtoken.verify(token, key, { algorithms: ["ES256"], issuer, audience });
    console.log(JSON.stringify({ claims }));
  } catch (error) {
    console.log(JSON.stringify({ claims: null, why: String(error) }));
  }
}
