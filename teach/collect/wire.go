package collect

import (
	"fmt"
	"slices"
)

// Wire is a way in which a teacher is asked: what a request and its answer look
// like over HTTP.
type Wire string

// The wires.
const (
	WireChat      Wire = "chat"      // OpenAI's chat completions: POST …/chat/completions
	WireMessages  Wire = "messages"  // Anthropic's messages: POST …/messages
	WireResponses Wire = "responses" // OpenAI's responses: POST …/responses
)

// Wires lists the wires, the default first.
func Wires() []Wire { return []Wire{WireChat, WireMessages, WireResponses} }

// ParseWire reads the name of a wire; "" is WireChat.
func ParseWire(name string) (Wire, error) {
	if name == "" {
		return WireChat, nil
	}
	if w := Wire(name); slices.Contains(Wires(), w) {
		return w, nil
	}
	return "", fmt.Errorf("wire %q is none of chat, messages and responses", name)
}

// Endpoint returns what names a teacher in prompt keys when it is asked over
// this wire: base, which is its base URL or the built-in teacher's
// configuration, as it stands on the chat wire, followed by the wire's name on
// the others.
func (w Wire) Endpoint(base string) string {
	if w == "" || w == WireChat {
		return base
	}
	return base + " " + string(w)
}
