package tokenizer

import "fmt"

// Rule is how text is cut into the words inside which pairs are merged.
type Rule int

// The rules, which differ in how they cut numbers, spaces and contractions.
const (
	Qwen2   Rule = iota // Pattern; what Train makes
	Llama3              // the same with numbers of up to three digits
	GPT2                // GPT-2's expression
	SmolLM2             // each digit by itself, and GPT-2's expression between them
)

// Expressions of tokenizer.json and llama.cpp's names of the rules.
const (
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

var ruleNames = [...]string{Qwen2: "qwen2", Llama3: "llama-bpe", GPT2: "gpt-2", SmolLM2: "smollm"}

// String is llama.cpp's name of the rule (tokenizer.ggml.pre).
func (r Rule) String() string {
	if r < 0 || int(r) >= len(ruleNames) {
		return fmt.Sprintf("Rule(%d)", int(r))
	}
	return ruleNames[r]
}

// Rule is how the tokenizer cuts text.
func (t *Tokenizer) Rule() Rule { return t.rule }

// ruleOf is the rule that llama.cpp calls by a name.
func ruleOf(name string) (Rule, error) {
	for r, n := range ruleNames {
		if n == name {
			return Rule(r), nil
		}
	}
	return 0, fmt.Errorf("%w: text cut by the rule %q; %v are followed", ErrUnsupported, name, ruleNames)
}

// piece returns the length of what is cut by expression at the start of s, which is
// not empty, as if the text ended behind it.
func (r Rule) piece(s string) int {
	if r != SmolLM2 {
		return len(s)
	}
	for i := 0; i < len(s); {
		c, n := classAt(s, i)
		if c == classNumber {
			if i == 0 {
				return n
			}
			return i
		}
		i += n
	}
	return len(s)
}

// word returns the length of the word at the start of s, a piece or what is left
// of it.
func (r Rule) word(s string) int {
	switch r {
	case GPT2, SmolLM2:
		return gpt2Word(s)
	case Llama3:
		if c, n := classAt(s, 0); c == classNumber {
			for range 2 {
				if n < len(s) {
					if c, m := classAt(s, n); c == classNumber {
						n += m
						continue
					}
				}
				break
			}
			return n
		}
	}
	return nextWord(s)
}

// gpt2Word follows 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// at the start of s.
func gpt2Word(s string) int {
	if s[0] == '\'' && len(s) > 1 {
		switch s[1] {
		case 's', 't', 'm', 'd':
			return 2
		}
		if len(s) > 2 {
			switch s[1:3] {
			case "re", "ve", "ll":
				return 3
			}
		}
	}
	at := 0
	if s[0] == ' ' {
		at = 1
	}
	if at < len(s) {
		if c, n := classAt(s, at); c != classSpace && c != classNewline {
			return run(s, at+n, c)
		}
	}
	end, last := 0, 0
	for end < len(s) {
		c, n := classAt(s, end)
		if c != classSpace && c != classNewline {
			break
		}
		last = end
		end += n
	}
	if end == len(s) || last == 0 {
		return end
	}
	return last
}
