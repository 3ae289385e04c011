package export

import (
	"errors"
	"fmt"

	"retort/student/model"
)

// architecture is how other programs call what a model computes.
type architecture struct {
	class  string // Hugging Face's
	kind   string // its model_type
	family string // llama.cpp's
	halves bool   // heads lie in halves in GGUF
}

// architectureOf finds the one that computes the same as a model of c.
func architectureOf(c model.Config) (architecture, error) {
	switch {
	case c.KVHeads == 0:
		return architecture{"DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", false}, nil
	case c.DenseLayers < c.Layers:
		return architecture{}, errors.New("no architecture of transformers has grouped-query attention and DeepSeek's mixture of experts")
	case c.QKVBias && c.QKNorm:
		return architecture{}, errors.New("no architecture of transformers has both biases and norms of queries and keys (Qwen2 has the biases, Qwen3 the norms)")
	case c.QKVBias:
		a := architecture{"Qwen2ForCausalLM", "qwen2", "qwen2", true}
		if c.RopeFactors || c.Heads*c.RopeDim != c.Hidden {
			a.family, a.halves = "llama", false // which takes biases too; llama.cpp's qwen2 has neither factors nor wider heads
		}
		return a, nil
	case c.QKNorm:
		return architecture{"Qwen3ForCausalLM", "qwen3", "qwen3", true}, nil
	}
	return architecture{"LlamaForCausalLM", "llama", "llama", false}, nil
}

// checkGGUF refuses what GGUF has no place for.
func (s *student) checkGGUF() error {
	if s.family == "qwen3" && s.config.RopeFactors {
		return errors.New("llama.cpp's qwen3 has no factors of rotary frequencies: leave out the format gguf")
	}
	if n := len(s.words.ends()); n > len(otherEnds) {
		return fmt.Errorf("GGUF has keys for %d tokens that end an answer, and this model has %d: leave out the format gguf", 1+len(otherEnds), 1+n)
	}
	return nil
}
