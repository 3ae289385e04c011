// Package gateway is a transparent proxy that records what a model's API serves:
// clients speak OpenAI's wires or Anthropic's messages to it with keys of its own,
// it speaks to the upstreams with theirs.
//
// A client sees the upstream's bytes, unchanged, as they arrive. What ends an
// answer waits until the whole exchange is durable in the ledger: a stream's last
// event, else the last read of a body and whatever ends the response. One
// request's way:
//
//	route   a method and path that the gateway knows; others are refused
//	key     by its hash; expired, revoked and out of scope are refused
//	body    read whole, within a bound that all requests share
//	lease   the key's rates and spend cap: the worst case is reserved
//	intent  to the ledger, within a moment, and not waited for
//	relay   to an upstream; another one if it fails before its first byte
//	pieces  to the client as they come, and to the ledger in fragments
//	end     submitted; when it is durable, what was held back goes out
//
// So a crash costs what no client was told was complete. If the ledger fails, new
// requests get 503 and open ones are aborted, never ended cleanly.
//
// It knows no file formats of models and takes no decision about who harvests:
// watch/detect does. Coins of the exposure test are prove/commit's; the place for
// them is between lease and intent.
package gateway
