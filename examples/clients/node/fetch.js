// Starts a batch on a haul server and watches it to its end.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { reasonOf } from "./error-info.js";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const definition = loadSync("haul/v1/service.proto", {
  includeDirs: [path("../../../proto")],
  defaults: true,
  enums: String,
  longs: Number,
  oneofs: true,
});
const { HaulService } = grpc.loadPackageDefinition(definition).haul.v1;

/** Yields the batch as it goes on. The last one is how it ended; a stream that breaks is opened again. */
async function* watch(haul, name) {
  let revision = 0;
  for (;;) {
    const stream = haul.watchProgress({ name, knownRevisions: [{ name, revision }] });
    try {
      for await (const message of stream) {
        const batch = message.snapshot ?? message.update ?? message.terminal;
        if (batch) {
          revision = batch.revision;
          yield batch;
        }
        if (message.event === "terminal") return;
      }
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE) throw error;
    } finally {
      stream.cancel();
    }
    await sleep(200 + Math.random() * 9_800);
  }
}

const { values: asked, positionals: keys } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string", default: "127.0.0.1:50051" },
    id: { type: "string", default: "" },
    // Of a simulator, in place of the provider.
    "base-url": { type: "string", default: "" },
  },
});
const haul = new HaulService(asked.server, grpc.credentials.createInsecure(), {
  "grpc.service_config": readFileSync(path("../service-config.json"), "utf8"),
});
const startBatch = promisify(haul.startBatch.bind(haul));
try {
  const started = await startBatch(
    {
      batchId: asked.id,
      spec: {
        inlineItems: { items: keys.map((key) => ({ key })) },
        yahooChart: { range: "1mo", baseUrl: asked["base-url"] },
        asOf: { timeZone: "Asia/Tokyo" },
      },
      // With it a start may be repeated, as the service config says, and still makes one batch.
      requestId: randomUUID(),
    },
    { deadline: Date.now() + 30_000 },
  );
  let last;
  for await (last of watch(haul, started.batch.name)) {
    console.log(`${last.name} ${last.progress.percentage.toFixed(0)} %`);
  }
  const { succeededItems, failedItems } = last.progress;
  console.log(`${last.endReason}: ${succeededItems} succeeded, ${failedItems} failed`);
} catch (error) {
  process.exitCode = 1;
  if (reasonOf(error) === "BATCH_EXISTS") {
    console.error(`there is a batch ${asked.id} already: choose another --id`);
  } else {
    console.error(`${reasonOf(error) ?? grpc.status[error.code] ?? error.name}: ${error.details ?? error.message}`);
  }
} finally {
  haul.close();
}
