// Calls each operation of a plan with the generated client and prints one JSON object a call.
import { readFileSync } from "node:fs";
import * as sdk from "./client/sdk.gen";

type Call = { id: string; path: object; query: object; body?: unknown; headers: Record<string, string> };
type Operation = (options: object) => Promise<{ response: Response; data?: unknown; error?: unknown }>;

const operations = sdk as unknown as Record<string, Operation | undefined>;

async function main(planFile: string, baseUrl: string) {
  for (const { id, ...options } of JSON.parse(readFileSync(planFile, "utf8")) as Call[]) {
    const operation = operations[id.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())];
    const answer = await operation?.({ baseUrl, ...options });
    console.log(JSON.stringify({ id, status: answer?.response.status, data: answer?.data, error: answer?.error }));
  }
}

main(process.argv[2]!, process.argv[3]!);
