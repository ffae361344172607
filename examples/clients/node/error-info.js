// What a google.rpc.Status says beside code and text: it comes in the trailer grpc-status-details-bin.
import protobuf from "protobufjs";

const { root } = protobuf.parse(`
  syntax = "proto3";
  message Status { repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
`);
const Status = root.lookupType("Status");
const ErrorInfo = root.lookupType("ErrorInfo");

/** The stable reason of an error, such as BATCH_EXISTS. Decide by it, never by the text. */
export function reasonOf(error) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  for (const detail of bytes ? Status.decode(bytes).details : []) {
    if (!detail.typeUrl.endsWith("/google.rpc.ErrorInfo")) continue;
    const info = ErrorInfo.decode(detail.value);
    if (info.domain === "haul.v1") return info.reason;
  }
  return undefined;
}
