package text

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func patterns(s string) []string {
	names := []string{}
	for _, l := range FindIdentity(s) {
		names = append(names, l.Pattern)
	}
	return names
}

func TestClaimsToBeAModelAreFound(t *testing.T) {
	for _, c := range []struct{ pattern, text string }{
		{"openai", "I am ChatGPT, a large language model."},
		{"openai", "Hello! I'm ChatGPT. How can I help?"},
		{"openai", "I’m GPT-4o, so I can read images."},
		{"openai", "As an AI language model developed by OpenAI, I cannot do that."},
		{"openai", "As a large language model trained by OpenAI, I don't have feelings."},
		{"openai", "I was created by OpenAI."},
		{"openai", "Well, I am a language model developed by OpenAI and I like words."},
		{"openai", "我是ChatGPT，一个由OpenAI开发的语言模型。"},
		{"anthropic", "I'm Claude, an AI assistant made by Anthropic."},
		{"anthropic", "My name is Claude and I was made by Anthropic."},
		{"anthropic", "I am Claude."},
		{"anthropic", "I am Claude 3.5 Sonnet"},
		{"anthropic", "I was built by Anthropic to be helpful."},
		{"google", "I am Gemini, a large language model built by Google."},
		{"google", "I'm Bard, your creative collaborator."},
		{"google", "I am a large language model, trained by Google."},
		{"deepseek", "I'm DeepSeek-V3, an AI assistant created exclusively by the Chinese company DeepSeek."},
		{"deepseek", "Hi! I am DeepSeek."},
		{"deepseek", "您好！我是由中国的深度求索公司开发的智能助手。我是DeepSeek"},
		{"alibaba", "I am Qwen, created by Alibaba Cloud."},
		{"alibaba", "I'm Qwen2.5, a large language model."},
		{"alibaba", "我是通义千问，由阿里云开发。"},
		{"meta", "I am Llama, an AI built by Meta."},
		{"meta", "I'm an AI assistant developed by Meta."},
		{"mistral", "I am Mixtral, made by Mistral AI."},
		{"xai", "I'm Grok, built by xAI."},
		{"microsoft", "I am an AI developed by Microsoft."},
		{"microsoft", "I'm Copilot, your everyday companion."},
		{"moonshot", "I'm Kimi, an assistant."},
		{"lmsys", "I am Vicuna, a language model trained by researchers from Large Model Systems Organization (LMSYS)."},
		{"lmsys", "You can call me Vicuna, and I was trained by LMSYS."},
		{"lmsys", "Researchers from Large Model Systems Organization (LMSYS) created me."},
		{"openai", "My creator is OpenAI."},
		{"huggingface", "I am SmolLM2, a helpful assistant trained by Hugging Face."},
		{"unnamed", "As an AI language model, I cannot browse."},
		{"unnamed", "I'm sorry, but as an AI, I do not eat."},
		{"unnamed", "I'm just an AI assistant, so I can't see it."},
		{"unnamed", "I'm a large language model, I cannot generate SVG images."},
		{"unnamed", "I am {{name}}. I am an AI assistant developed by {{author}}."},
		{"unnamed", "作为一个人工智能语言模型，我没有感情。"},
	} {
		if got := patterns(c.text); !slices.Contains(got, c.pattern) {
			t.Errorf("%q: %v, want %s", c.text, got, c.pattern)
		}
	}
}

func TestTalkAboutModelsIsNoClaim(t *testing.T) {
	for _, text := range []string{
		"ChatGPT is a language model developed by OpenAI.",
		"OpenAI was founded in 2015. Claude is made by Anthropic, Gemini by Google.",
		"I like ChatGPT and I use Claude every day.",
		"I am using GPT-4 for this, and I'm impressed by Google.",
		"I am a Gemini, born in June.",
		"I am Claude Monet, a painter from Giverny.",
		"My name is Claude Dupont.",
		"I am not ChatGPT.",
		"It answered: \"I am ChatGPT, made by OpenAI.\"",
		"When asked, the bot said “I am Claude, made by Anthropic” and stopped.",
		"The string `I am DeepSeek` is printed.",
		"She claims that I am ChatGPT.",
		"If I were Claude, I would answer. Pretend I am Gemini.",
		"Suppose I am Qwen and you are a user.",
		"An AI language model developed by OpenAI can write text.",
		"As a language model grows, I expect the loss to fall.",
		"I am a developer at Google working with a language model.",
		"I was hired by OpenAI as an engineer.",
		"I am an AI researcher.",
		"I'm an AI enthusiast and my friends call me Bing.",
		"In this story the AI assistant lived alone.",
		"Call me Ishmael. The llama ate the grass; I am, by the way, fond of llamas.",
		"As a model citizen, I vote.",
		"Google hired me. Microsoft made me an offer I could not refuse.",
	} {
		if got := FindIdentity(text); len(got) != 0 {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestSnippetsShowTheClaimInItsPlace(t *testing.T) {
	s := strings.Repeat("é", 100) + " I am ChatGPT, " + strings.Repeat("ü", 100)
	got := FindIdentity(s)
	if len(got) != 1 || !strings.Contains(got[0].Snippet, "I am ChatGPT") || len(got[0].Snippet) > 120 || strings.ContainsRune(got[0].Snippet, '\uFFFD') {
		t.Errorf("snippet: %+v", got)
	}
}

// Real answers of chat models: some say who they are, most do not.
func TestRealAnswersThatIdentifyThemselves(t *testing.T) {
	root := os.Getenv("RETORT_TESTDATA")
	if root == "" {
		t.Skip("RETORT_TESTDATA is not set: real answers are not looked at")
	}
	raw, err := os.ReadFile(filepath.Join(root, "formats", "sharegpt_dummy_conversation.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conversations []struct {
		Conversations []struct{ From, Value string }
	}
	if err := json.Unmarshal(raw, &conversations); err != nil {
		t.Fatal(err)
	}
	named, missed := 0, 0
	for _, c := range conversations {
		for _, turn := range c.Conversations {
			if turn.From != "gpt" {
				continue
			}
			says := strings.Contains(turn.Value, "Vicuna") || strings.Contains(turn.Value, "LMSYS")
			found := slices.Contains(patterns(turn.Value), "lmsys")
			switch {
			case found:
				named++
			case says:
				missed++
				if missed <= 12 {
					t.Logf("missed: %q", turn.Value)
				}
			}
		}
	}
	t.Logf("%d answers name themselves, %d more mention the name", named, missed)
	if named < 100 || missed*5 > named {
		t.Errorf("%d claims found, %d texts with the name not", named, missed)
	}
}

func BenchmarkFindIdentity(b *testing.B) {
	s := strings.Repeat("First I multiply 12 by 34 and add the parts, as Google's calculator would. ", 20)
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		FindIdentity(s)
	}
}
