// Package reference is the built-in reference teacher: a real server on
// loopback that speaks chat completions, responses and Anthropic's messages and
// solves the verifiable families of package task, with written-out reasoning and an
// answer. It is imperfect on purpose: its countdown search gives up early, and
// it reads messages to a shop's support (extract) hastily. With it every part
// of a distillation can be run, measured and broken at no cost.
//
// It is not a language model: to any other prompt it answers that it does not
// understand. It keeps no conversation; only the last user message counts, and
// in that a problem of arithmetic must stand alone, while a message to support
// may have anything around it.
//
// A request of any wire is read as a chat-completions request, so that the same
// question has the same answer on each. A tool that has to be called, or a JSON
// schema, gives the answer its form: a JSON object is taken as it is, any other
// answer becomes the schema's first required property. Beginnings of prompts
// that a request of the messages wire marks are cached, and priced accordingly.
//
// With a seed in the request, an answer is a pure function of the teacher's
// own seed and the request (messages, temperature, top_p, max_tokens, stop,
// seed, index of the choice). Without one every call draws anew.
//
// The teacher bills every answer that it generates, in tokens of its own
// (CountTokens) and at prices that are neither zero nor round, and writes its
// bill, synced, before it sends the first byte of a reply: what a client's books
// say can be held against it.
//
// Faults that real APIs have can be switched on, each at a rate of its own.
//
// Errors of New, Config.Validate and Start name the option; those of a wire are
// that wire's error envelope.
package reference
