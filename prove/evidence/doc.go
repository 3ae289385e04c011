// Package evidence packs what a stranger needs to check an exposure test, in one file,
// and checks such files.
//
// A pack is a tar archive in one fixed form: a manifest with the hash of every part, a
// signed note over the manifest, and the parts. Verify needs the file and a public key
// and nothing else; it checks signatures, hashes, the log, its heads and stamps, every
// coin, every answer that is disclosed, and computes every figure anew. An error names
// the part.
//
// The verdict is a table of findings ranked by strength, each with its null hypothesis,
// its statistic, what it comes to, and the innocent explanation. It is never one word.
//
// docs/formats/evidence-pack.md has the format, and a second verifier in Python stands
// beside it.
package evidence
