package text

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Identity is a place where a text says who its writer is: a claim in the
// first person to be a named model, to be made by a named company, or to be a
// language model at all.
type Identity struct {
	Pattern string // such as "openai", "anthropic", "unnamed"
	Snippet string // the claim and a little of what stands around it
}

// identity is one pattern. A claim in the first person makes it a leak; talk
// about a model does not.
type identity struct {
	name    string
	anchors []string // lower case; a text without any of them cannot match
	claims  []*regexp.Regexp
}

// Who a text may claim to be. Names that are also people's, stars' or words
// ("Claude", "Gemini", "Grok", "Llama") count only where what follows makes it
// the model: an end of clause, "an AI", "by", a version.
var (
	selfIs   = `\b(?:i am|i'm|i’m|i, |my name is|my name's|(?:you )?(?:can |may )?(?:call|refer to) me(?: as)?|this is|i go by(?: the name)?(?: of)?)\s+(?:actually |just |also |called |known as |named )?`
	selfMade = `\b(?:(?:i|which) was|i am|i'm|i’m|i have been|i've been|i’ve been)\s+(?:originally |first )?(?:made|built|created|developed|designed|trained|released|deployed)\s+(?:and (?:made|built|created|developed|trained|maintained) )?(?:by|at)\s+`
	aModelOf = `\b(?:as|i am|i'm|i’m)\s+(?:just |only |also |actually )?(?:an?|the)\s+(?:[\p{L}-]+ ){0,3}?(?:ai|a\.i\.|artificial intelligence|language model|llm|model|assistant|chatbot)(?: language)?(?: model| assistant| chatbot| system)?,?\s+(?:that was |which was |that is |that has been )?(?:made|built|created|developed|designed|trained|provided|from)\s*(?:and (?:made|built|created|developed|trained) )?(?:by|at)?\s*(?:researchers (?:at|from) )?(?:the company |the team at )?`
	ends     = `(?:\s*$|\s*[.,;:!?)(\]—–-]|\s+(?:an?|the|your|version|v?\d[\w.]*|by|from|made|built|created|developed|trained|and i|pro\b|ultra|flash|nano|opus|sonnet|haiku|instant|chat\b|instruct))`
)

func claims(patterns ...string) []*regexp.Regexp {
	var out []*regexp.Regexp
	for _, p := range patterns {
		out = append(out, regexp.MustCompile(`(?i)`+p))
	}
	return out
}

// vendor makes a pattern of names that mean nothing else, names that need
// their ending, and makers.
func vendor(name string, anchors []string, sure, unsure, makers string, more ...string) identity {
	patterns := more
	if sure != "" {
		patterns = append(patterns, selfIs+`(?:an? |the )?(?:`+sure+`)\b`, `\bas (?:an? |the )?(?:`+sure+`), i\b`)
	}
	if unsure != "" {
		patterns = append(patterns, selfIs+`(?:`+unsure+`)`+ends)
	}
	if makers != "" {
		patterns = append(patterns, selfMade+`(?:`+makers+`)`, aModelOf+`(?:`+makers+`)`,
			`(?:^|[.!?] )(?:researchers (?:at|from) )?(?:`+makers+`)(?: organization)?(?: \([^)\n]{1,12}\))? (?:built|created|developed|trained) me\b`,
			`\bmy (?:creators?|developers?|makers?) (?:is|are) (?:researchers (?:at|from) )?(?:`+makers+`)`)
	}
	return identity{name, anchors, claims(patterns...)}
}

var identities = []identity{
	vendor("openai", []string{"gpt", "openai"}, `chat-?gpt|(?:openai'?s )?gpt-?[345][\w.-]*`, "", `open ?ai`,
		`我是\s*(?:chatgpt|gpt)`, `由\s*openai\s*(?:开发|训练|研发|创建)`),
	vendor("anthropic", []string{"claude", "anthropic"}, `anthropic'?s claude|claude,? an ai`, `claude`, `anthropic`,
		`我是\s*claude`, `由\s*anthropic\s*(?:开发|训练|研发|创建)`),
	vendor("google", []string{"gemini", "google", "bard", "gemma", "palm", "deepmind"}, `google (?:bard|gemini)|gemini,? a (?:large )?language model`, `gemini|bard|gemma`, `google(?: deepmind| ai)?|deepmind`,
		`我是\s*(?:gemini|gemma)`, `由\s*(?:google|谷歌)\s*(?:开发|训练|研发|创建)`),
	vendor("deepseek", []string{"deepseek", "深度求索"}, `deep-?seek(?:[- ](?:v|r|chat|coder)[\w.-]*)?`, "", `deep-?seek(?: company| ai)?`,
		`我是\s*deepseek`, `由\s*(?:deepseek|深度求索)(?:公司)?\s*(?:开发|训练|研发|创建|创造)`),
	vendor("alibaba", []string{"qwen", "tongyi", "alibaba", "通义", "阿里"}, `qwen[\w.-]*|tongyi qianwen`, "", `alibaba(?: cloud| group)?`,
		`我是\s*(?:qwen|通义)`, `由\s*(?:阿里云|阿里巴巴)(?:集团|公司)?\s*(?:开发|训练|研发|创建|研制)`),
	vendor("meta", []string{"llama", "meta ai", "by meta"}, `meta ai`, `llama`, `meta(?: ai)?\b`),
	vendor("mistral", []string{"mistral", "mixtral"}, `mi[sx]tral[\w.-]*`, "", `mistral(?: ai)?`),
	vendor("xai", []string{"grok", "xai"}, "", `grok`, `xai\b`),
	vendor("microsoft", []string{"copilot", "microsoft", "bing", "phi-"}, `(?:microsoft|github) copilot|bing chat`, `copilot|phi-\d[\w.]*`, `microsoft`),
	vendor("moonshot", []string{"kimi", "moonshot", "月之暗面"}, "", `kimi`, `moonshot(?: ai)?`, `我是\s*kimi`, `由\s*月之暗面[^\s]{0,12}\s*(?:开发|训练|研发)`),
	vendor("zhipu", []string{"chatglm", "glm-", "zhipu", "智谱"}, `chatglm[\w.-]*|glm-\d[\w.]*`, "", `zhipu(?: ai)?|z\.ai`, `由\s*智谱[^\s]{0,12}\s*(?:开发|训练|研发)`),
	vendor("lmsys", []string{"vicuna", "lmsys", "large model systems"}, `vicuna`, "", `lmsys|large model systems|researchers from large model systems`),
	vendor("huggingface", []string{"smollm", "hugging face", "huggingface", "zephyr"}, `smollm[\w.-]*`, "", `hugging ?face`),
	// No maker named: still a model that speaks of itself.
	{"unnamed", []string{"language model", "ai assistant", "ai model", "an ai", "语言模型", "人工智能"}, claims(
		`\bas an? (?:[\p{L}-]+ ){0,2}?(?:ai|a\.i\.|artificial intelligence|language model|llm|chatbot)(?: (?:language )?model| assistant| chatbot| system)?(?: (?:developed|created|made|built|trained) by [\p{L}{} ]{1,40}?)?,? (?:i|my)\b`,
		`\b(?:i am|i'm|i’m) (?:just |only |also |actually |merely )?an? (?:[\p{L}-]+ ){0,2}?(?:ai (?:language )?model|ai (?:assistant|chatbot|system)\b|ai(?:\s*$|\s*[.,;:!?)\]—–]|\s+(?:that|and|so|by|with|without|made|built|created|developed|designed|trained)\b)|artificial intelligence|language model)`,
		`作为(?:一个|一款|一名)?(?:大型|大)?(?:人工智能|ai|语言模型)[^，。,]{0,16}[，,]\s*我`,
		`我是(?:一个|一款|一名)?(?:由[^，。]{1,24}(?:开发|训练|研发|创建)的)?(?:大型|大)?(?:人工智能|ai|语言模型)`,
	)},
}

// IdentityPatterns returns the names of the patterns that FindIdentity knows,
// in the order in which it reports them.
func IdentityPatterns() []string {
	names := make([]string, len(identities))
	for i := range identities {
		names[i] = identities[i].name
	}
	return names
}

// FindIdentity returns the claims that a text makes about who wrote it, each
// pattern at most once, in the patterns' order. Where a maker is named the
// pattern "unnamed" is not reported beside it.
//
// A claim inside quotation marks, one that somebody is said to make, and one
// that is supposed ("if I were", "pretend that I am") is not the text's own.
func FindIdentity(s string) []Identity {
	hits := anchors.find(s)
	if len(hits) == 0 {
		return nil
	}
	var found []Identity
	for i := range identities {
		p := &identities[i]
		if p.name == "unnamed" && len(found) > 0 {
			continue
		}
		if at, ok := p.find(s, around(s, hits, i)); ok {
			found = append(found, Identity{p.name, snippet(s, at[0], at[1])})
		}
	}
	return found
}

// What is looked at of texts that repeat themselves, so that no text takes
// longer than its length warrants: claims of one kind in a stretch, and bytes of
// a line before one.
const (
	maxClaims = 100
	maxLine   = 4096
)

// find looks for a claim in the given stretches of s.
func (p *identity) find(s string, parts [][2]int) (at [2]int, ok bool) {
	for _, part := range parts {
		if !firstPerson(s[part[0]:part[1]]) {
			continue
		}
		for _, re := range p.claims {
			for _, m := range re.FindAllStringIndex(s[part[0]:part[1]], maxClaims) {
				m[0], m[1] = m[0]+part[0], m[1]+part[0]
				if ok && m[0] >= at[0] {
					break
				}
				if !borrowed(s[:m[0]]) {
					at, ok = [2]int{m[0], m[1]}, true
				}
			}
		}
		if ok {
			break
		}
	}
	return at, ok
}

// borrowedBefore matches what stands right before words that are not the
// text's own: a quotation just opened, a report, a supposition.
var borrowedBefore = regexp.MustCompile(`(?i)(?:["“‘«` + "`" + `]\s*|(?:^|[\s(,;])'|\b(?:if|that|whether|pretend|imagine|suppose|supposing|assume|assuming|claims?|claiming|says?|said|saying|replies|replied|answers?|answered|wrote|writes|think|thinks|believe|believes|as though|as if|not|don't|do not)[ ,:]{1,3})$`)

// borrowed reports whether what follows before is quoted, reported or supposed.
// An open quotation is one whose marks since the last line break do not pair.
func borrowed(before string) bool {
	line := before[max(0, len(before)-maxLine):]
	line = line[strings.LastIndexByte(line, '\n')+1:]
	if borrowedBefore.MatchString(line) {
		return len(line) < len(before) || strings.TrimLeft(line, "\"“‘«'` ") != ""
	}
	if strings.Count(line, `"`)%2 == 1 || strings.Count(line, "`")%2 == 1 {
		return strings.TrimLeft(line, "\"` ") != ""
	}
	return strings.Count(line, "“") > strings.Count(line, "”")
}

// snippetContext is how many bytes around a claim a snippet shows.
const snippetContext = 40

func snippet(s string, from, to int) string {
	from, to = max(0, from-snippetContext), min(len(s), to+snippetContext)
	for from > 0 && !utf8.RuneStart(s[from]) {
		from--
	}
	for to < len(s) && !utf8.RuneStart(s[to]) {
		to++
	}
	return strings.Join(strings.Fields(s[from:to]), " ")
}
