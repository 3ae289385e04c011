package openai

import "retort/internal/wire"

// The types below keep unknown fields: each decodes its known fields by their
// exact names and the rest into Extra, and encodes both.

// UnmarshalJSON implements json.Unmarshaler.
func (v *ChatRequest) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ChatRequest) MarshalJSON() ([]byte, error) {
	type plain ChatRequest
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *StreamOptions) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v StreamOptions) MarshalJSON() ([]byte, error) {
	type plain StreamOptions
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Message) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Message) MarshalJSON() ([]byte, error) {
	type plain Message
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Part) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Part) MarshalJSON() ([]byte, error) {
	type plain Part
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ToolCall) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ToolCall) MarshalJSON() ([]byte, error) {
	type plain ToolCall
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *FunctionCall) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v FunctionCall) MarshalJSON() ([]byte, error) {
	type plain FunctionCall
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ChatResponse) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ChatResponse) MarshalJSON() ([]byte, error) {
	type plain ChatResponse
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Choice) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Choice) MarshalJSON() ([]byte, error) {
	type plain Choice
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ChatChunk) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ChatChunk) MarshalJSON() ([]byte, error) {
	type plain ChatChunk
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ChunkChoice) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ChunkChoice) MarshalJSON() ([]byte, error) {
	type plain ChunkChoice
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Delta) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Delta) MarshalJSON() ([]byte, error) {
	type plain Delta
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *PromptTokensDetails) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v PromptTokensDetails) MarshalJSON() ([]byte, error) {
	type plain PromptTokensDetails
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *CompletionTokensDetails) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CompletionTokensDetails) MarshalJSON() ([]byte, error) {
	type plain CompletionTokensDetails
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ErrorEnvelope) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ErrorEnvelope) MarshalJSON() ([]byte, error) {
	type plain ErrorEnvelope
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ErrorBody) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ErrorBody) MarshalJSON() ([]byte, error) {
	type plain ErrorBody
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ModelList) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ModelList) MarshalJSON() ([]byte, error) {
	type plain ModelList
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Model) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Model) MarshalJSON() ([]byte, error) {
	type plain Model
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ResponsesRequest) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ResponsesRequest) MarshalJSON() ([]byte, error) {
	type plain ResponsesRequest
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *TextConfig) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v TextConfig) MarshalJSON() ([]byte, error) {
	type plain TextConfig
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *TextFormat) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v TextFormat) MarshalJSON() ([]byte, error) {
	type plain TextFormat
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ResponsesTool) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ResponsesTool) MarshalJSON() ([]byte, error) {
	type plain ResponsesTool
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Item) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Item) MarshalJSON() ([]byte, error) {
	type plain Item
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ItemPart) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ItemPart) MarshalJSON() ([]byte, error) {
	type plain ItemPart
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ResponsesResult) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ResponsesResult) MarshalJSON() ([]byte, error) {
	type plain ResponsesResult
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *IncompleteDetails) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v IncompleteDetails) MarshalJSON() ([]byte, error) {
	type plain IncompleteDetails
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *OutputTokensDetails) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v OutputTokensDetails) MarshalJSON() ([]byte, error) {
	type plain OutputTokensDetails
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ResponsesEvent) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ResponsesEvent) MarshalJSON() ([]byte, error) {
	type plain ResponsesEvent
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *CompletionRequest) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CompletionRequest) MarshalJSON() ([]byte, error) {
	type plain CompletionRequest
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *CompletionResponse) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CompletionResponse) MarshalJSON() ([]byte, error) {
	type plain CompletionResponse
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *CompletionChoice) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CompletionChoice) MarshalJSON() ([]byte, error) {
	type plain CompletionChoice
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *CompletionLogprobs) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CompletionLogprobs) MarshalJSON() ([]byte, error) {
	type plain CompletionLogprobs
	return wire.EncodeObject(plain(v), v.Extra)
}
