package anthropic

import "retort/internal/wire"

// The types below keep unknown fields: each decodes its known fields by their
// exact names and the rest into Extra, and encodes both.

// UnmarshalJSON implements json.Unmarshaler.
func (v *Request) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Request) MarshalJSON() ([]byte, error) {
	type plain Request
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
func (v *Block) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Block) MarshalJSON() ([]byte, error) {
	type plain Block
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Tool) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Tool) MarshalJSON() ([]byte, error) {
	type plain Tool
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ToolChoice) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v ToolChoice) MarshalJSON() ([]byte, error) {
	type plain ToolChoice
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Thinking) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Thinking) MarshalJSON() ([]byte, error) {
	type plain Thinking
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *OutputConfig) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v OutputConfig) MarshalJSON() ([]byte, error) {
	type plain OutputConfig
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *OutputFormat) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v OutputFormat) MarshalJSON() ([]byte, error) {
	type plain OutputFormat
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *CacheControl) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CacheControl) MarshalJSON() ([]byte, error) {
	type plain CacheControl
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Response) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Response) MarshalJSON() ([]byte, error) {
	type plain Response
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Event) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v Event) MarshalJSON() ([]byte, error) {
	type plain Event
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
func (v *CacheCreation) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v CacheCreation) MarshalJSON() ([]byte, error) {
	type plain CacheCreation
	return wire.EncodeObject(plain(v), v.Extra)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *OutputTokensDetails) UnmarshalJSON(b []byte) error { return wire.DecodeObject(b, v) }

// MarshalJSON implements json.Marshaler.
func (v OutputTokensDetails) MarshalJSON() ([]byte, error) {
	type plain OutputTokensDetails
	return wire.EncodeObject(plain(v), v.Extra)
}
