// Package commit holds what a gateway binds itself to before it serves: the coins of
// the exposure test, their commitments, and the Merkle log in which they stand.
//
// For a sampled share of prompts a gateway draws two answers and a secret coin says
// which of them is served. Whoever learned from what was served prefers it; whoever
// did not cannot know the coin. That is worth something only if the operator could
// not choose coins, pairs or accounts after seeing the suspect. So:
//
//   - whether a request may carry a coin is decided before the coin (Read, Consider);
//   - the log's first leaf about a coin is durable before the first byte is served,
//     the second, with the hashes of both answers, when both are complete;
//   - the log is an RFC 6962 Merkle tree, its heads are signed notes (a checkpoint in
//     the sense of C2SP tlog-checkpoint), and heads are stamped by a third party
//     (RFC 3161);
//   - counters are contiguous, over the log and over each account, so that nothing can
//     be left out.
//
// A coin hangs on a secret of 32 bytes, its seed, which is an HMAC of account and
// prompt under the workspace's exposure key. The commitment is a hash of the seed and
// of all that the coin is about; opening a coin is giving its seed away.
//
// The package serves nothing and judges nothing: prove/expose tests a suspect, and
// prove/evidence packs what a stranger needs to check it. docs/formats/exposure-log.md
// has the formats to the byte.
package commit
