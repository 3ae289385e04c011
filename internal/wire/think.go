package wire

import "strings"

const (
	thinkOpen  = "<think>"
	thinkClose = "</think>"
)

// SplitThink separates the reasoning that a model wrote inside <think> tags at
// the start of its content from the answer after it; white space around both
// parts at the seam is dropped. Content without such tags is all answer.
//
// An opening tag that is never closed makes all of it reasoning: the answer
// was cut off. A closing tag without an opening one ends reasoning that began
// in the prompt, as some chat templates have it. An empty pair of tags means
// that there was no reasoning.
func SplitThink(content string) (reasoning, answer string) {
	body := strings.TrimLeft(content, " \t\r\n")
	opened := strings.HasPrefix(body, thinkOpen)
	if opened {
		body = body[len(thinkOpen):]
	}
	before, after, closed := strings.Cut(body, thinkClose)
	switch {
	case closed && !opened && strings.Contains(before, thinkOpen):
		return "", content // the tags are part of the answer's text
	case closed:
		return strings.TrimSpace(before), strings.TrimLeft(after, " \t\r\n")
	case opened:
		return strings.TrimSpace(body), ""
	}
	return "", content
}
