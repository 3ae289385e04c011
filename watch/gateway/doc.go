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
//	coin    of the exposure test, if policy asks for one: a second, equal call goes out
//	intent  to the ledger, within a moment, and not waited for
//	relay   to an upstream; another one if it fails before its first byte
//	pieces  to the client as they come, and to the ledger in fragments
//	end     submitted; when it is durable, what was held back goes out
//
// So a crash costs what no client was told was complete. If the ledger fails, new
// requests get 503 and open ones are aborted, never ended cleanly.
//
// What passes is glanced at for usage, model and finish and not decoded: the answer
// is read out of the ledger by who wants it.
//
// The intent need not be waited for: the promise that a budget is a wall is kept by
// the reservation while the gateway lives, and across a crash by the intents of keys
// with a spend cap, which are submitted at once. What a crash forgets of those has
// cost no more than what was asked within one sync.
//
// It knows no file formats of models and takes no decision about who harvests:
// watch/detect does. Coins come with their secrets and their log from who implements
// Coins, prove/commit.
package gateway
