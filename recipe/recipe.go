// Package recipe turns a recipe file into a plan of stages and runs them,
// resumably: prompts are collected from a teacher, or conversations imported,
// judged and curated into a dataset, a student is trained on it, evaluated
// against its teacher and exported. Before that it shows what would be asked
// (MakePreview), what it can cost (MakePlan), and what some of it brings
// (Sample); afterwards what runs there are (Runs) and how two differ (Compare).
//
// It decides in what order rooms are called and keeps what each stage needs to
// go on after an interruption. What a stage does is done in its own room. A
// recipe is strict YAML: an unknown key is refused with its place and the
// nearest valid one, an impossible value with its place and what is possible.
package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"retort/exchange"
	"retort/internal/strict"
	"retort/teach/reference"
	"retort/teach/task"
	"retort/teach/verify"
)

// Version is the recipe format that this program reads.
const Version = 1

// Recipe is one recipe file with every default filled in.
type Recipe struct {
	Version int           `yaml:"retort" json:"retort" jsonschema_description:"version of the recipe format; 1"`
	Name    string        `yaml:"name" json:"name" jsonschema_description:"names the run's directory"`
	Seed    uint64        `yaml:"seed" json:"seed" jsonschema_description:"decides problems, initial weights and order of training"`
	Use     Use           `yaml:"use" json:"use" jsonschema_description:"what the model is for; the terms gate decides on it"`
	Teacher Teacher       `yaml:"teacher" json:"teacher" jsonschema_description:"the model that is asked"`
	Budget  Budget        `yaml:"budget" json:"budget" jsonschema_description:"the most that the teacher may cost"`
	Prompts []Prompts     `yaml:"prompts" json:"prompts" jsonschema_description:"what is asked"`
	Verify  []verify.Spec `yaml:"verify" json:"verify" jsonschema_description:"how an answer is judged: every verifier must pass"`
	Accept  Accept        `yaml:"accept" json:"accept" jsonschema_description:"which answers are complete enough to be used"`
	Curate  Curate        `yaml:"curate" json:"curate" jsonschema_description:"which answers become examples"`
	Student Student       `yaml:"student" json:"student" jsonschema_description:"the model that is trained"`
	Train   []Train       `yaml:"train" json:"train" jsonschema_description:"how it is trained, step by step"`
	Eval    Eval          `yaml:"eval" json:"eval" jsonschema_description:"whom it is compared with"`
	Export  []ExportFile  `yaml:"export" json:"export" jsonschema_description:"formats to write: huggingface, gguf, or {gguf: TYPE}"`

	StudentPrompt *StudentPrompt `yaml:"student_prompt,omitempty" json:"student_prompt,omitempty" jsonschema_description:"what the student reads where that is less than what the teacher needed"`
	Terms         *Terms         `yaml:"terms,omitempty" json:"terms,omitempty" jsonschema_description:"agreements of your own, and decisions that the terms gate is to follow"`
	Model         *Model         `yaml:"model,omitempty" json:"model,omitempty" jsonschema_description:"what the student is called, and what goes with it"`

	dir     string  // of the file; files that it names are relative to it
	src     *source // where its values stand
	baseSum string  // hash of the base's files, once it is known
}

// Use says what the student is for.
type Use struct {
	Purpose     string `yaml:"purpose,omitempty" json:"purpose,omitempty" jsonschema_description:"in a word or two"`
	Distributed bool   `yaml:"distributed" json:"distributed" jsonschema_description:"whether the model leaves the organisation that trains it"`
}

// Teacher is the model that is asked: the built-in one, or any address that
// speaks the OpenAI wire.
type Teacher struct {
	Reference *reference.Config `yaml:"reference,omitempty" json:"reference,omitempty" jsonschema_description:"the built-in reference teacher"`
	BaseURL   string            `yaml:"base_url,omitempty" json:"base_url,omitempty" jsonschema_description:"address of an OpenAI-compatible API, up to and with /v1"`
	Model     string            `yaml:"model,omitempty" json:"model,omitempty" jsonschema_description:"the model's name there"`
	APIKeyEnv string            `yaml:"api_key_env,omitempty" json:"api_key_env,omitempty" jsonschema_description:"environment variable that holds the API key"`
	Request   Request           `yaml:"request" json:"request" jsonschema_description:"how each request is made"`
	Price     *Price            `yaml:"price,omitempty" json:"price,omitempty" jsonschema_description:"USD per million tokens, where the price book has no entry"`
	Limits    Limits            `yaml:"limits" json:"limits" jsonschema_description:"how fast it may be asked"`
	Terms     string            `yaml:"terms,omitempty" json:"terms,omitempty" jsonschema_description:"the terms row that applies, where the address does not tell"`
	Wire      string            `yaml:"wire,omitempty" json:"wire,omitempty" jsonschema:"enum=chat,enum=messages,enum=responses" jsonschema_description:"chat: OpenAI's chat completions; messages: Anthropic's; responses: OpenAI's responses. Default: the provider's usual one"`
	Provider  string            `yaml:"provider,omitempty" json:"provider,omitempty" jsonschema_description:"whose habits the API has, where the address does not tell: openai, anthropic, deepseek, gemini, vllm, llamacpp or ollama"`
}

// Request is what every request of a recipe has in common.
type Request struct {
	Temperature *float64       `yaml:"temperature,omitempty" json:"temperature,omitempty" jsonschema_description:"sampling temperature, 0 to 2"`
	TopP        *float64       `yaml:"top_p,omitempty" json:"top_p,omitempty" jsonschema_description:"nucleus sampling"`
	MaxTokens   int            `yaml:"max_tokens" json:"max_tokens" jsonschema_description:"longest answer in the teacher's tokens; bounds the cost"`
	Seed        string         `yaml:"seed" json:"seed" jsonschema_description:"derived: a seed from the prompt key; none: the teacher draws anew"`
	Stream      *bool          `yaml:"stream,omitempty" json:"stream,omitempty" jsonschema_description:"whether answers are streamed"`
	ExtraBody   map[string]any `yaml:"extra_body,omitempty" json:"extra_body,omitempty" jsonschema_description:"further fields of the request body"`
}

// Price is what a teacher's tokens cost, in USD per million.
type Price struct {
	Input       float64  `yaml:"input" json:"input" jsonschema_description:"input tokens"`
	CachedInput *float64 `yaml:"cached_input,omitempty" json:"cached_input,omitempty" jsonschema_description:"input tokens that the provider had cached"`
	Output      float64  `yaml:"output" json:"output" jsonschema_description:"output tokens, reasoning included"`
}

// Limits bound how fast a teacher is asked. They do not change what is asked.
type Limits struct {
	RPM        int    `yaml:"rpm,omitempty" json:"rpm,omitempty" jsonschema_description:"requests a minute"`
	TPM        int    `yaml:"tpm,omitempty" json:"tpm,omitempty" jsonschema_description:"tokens a minute"`
	Concurrent int    `yaml:"concurrent" json:"concurrent" jsonschema_description:"requests in flight"`
	Deadline   string `yaml:"deadline" json:"deadline" jsonschema_description:"longest time for one answer"`
	Stall      string `yaml:"stall" json:"stall" jsonschema_description:"longest silence within one answer"`
	Attempts   int    `yaml:"attempts" json:"attempts" jsonschema_description:"attempts at one request before it is given up"`
}

// Budget bounds what the teacher may cost.
type Budget struct {
	USD *float64 `yaml:"usd,omitempty" json:"usd,omitempty" jsonschema_description:"US dollars, over all attempts of this run; required for a paid teacher"`
}

// Accept says which answers are complete.
type Accept struct {
	FinishReason []string `yaml:"finish_reason,flow" json:"finish_reason" jsonschema_description:"finish reasons that count as a complete answer"`
}

// Curate says which answers become examples.
type Curate struct {
	Keep           string  `yaml:"keep" json:"keep" jsonschema_description:"correct: only what the verifier passes; all: everything"`
	NearDuplicates float64 `yaml:"near_duplicates" json:"near_duplicates" jsonschema_description:"similarity (Jaccard) from which an example is a near duplicate; 0: off"`
	Decontaminate  string  `yaml:"decontaminate" json:"decontaminate" jsonschema_description:"heldout: drop what overlaps with held-out problems; none: keep it"`
	Reasoning      string  `yaml:"reasoning" json:"reasoning" jsonschema_description:"keep or drop the written-out reasoning; require: keep it and refuse answers without it"`
}

// Student is the model that is trained: one that starts from nothing (Preset), or
// one that somebody has made (Base).
type Student struct {
	Preset     string `yaml:"preset,omitempty" json:"preset" jsonschema_description:"from nothing: tiny, tiny-dense or tiny-moe"`
	Vocabulary int    `yaml:"vocabulary,omitempty" json:"vocabulary" jsonschema_description:"most tokens that the tokenizer of a student from nothing may have"`
	Context    int    `yaml:"context" json:"context" jsonschema_description:"longest sequence in tokens"`

	Base  string `yaml:"base,omitempty" json:"base,omitempty" jsonschema_description:"a model to start from: a Hugging Face directory or a GGUF file"`
	LoRA  *LoRA  `yaml:"lora,omitempty" json:"lora,omitempty" jsonschema_description:"teach an adapter to the base; without it all of the base's weights are taught"`
	Terms string `yaml:"terms,omitempty" json:"terms,omitempty" jsonschema_description:"the terms row of the base's licence, where its files do not tell"`
}

// LoRA is the adapter that is taught in place of the base's own weights.
type LoRA struct {
	Rank    int      `yaml:"rank" json:"rank" jsonschema_description:"of the matrices that are added; 16"`
	Alpha   float64  `yaml:"alpha" json:"alpha" jsonschema_description:"what is added is multiplied by alpha / rank; twice the rank if not given"`
	Targets []string `yaml:"targets,omitempty,flow" json:"targets,omitempty" jsonschema_description:"which projections, such as q_proj; default: all"`
	Dropout float64  `yaml:"dropout,omitempty" json:"dropout,omitempty" jsonschema_description:"share of the adapter's inputs that each step of training leaves out; 0"`
}

// Train is one step of training. Exactly one of its fields is set.
type Train struct {
	SFT  *SFT  `yaml:"sft,omitempty" json:"sft,omitempty" jsonschema_description:"supervised fine-tuning on the dataset"`
	GRPO *GRPO `yaml:"grpo,omitempty" json:"grpo,omitempty" jsonschema_description:"reinforcement by problems that can be judged, after sft"`
}

// SFT is supervised fine-tuning on the dataset.
type SFT struct {
	Epochs       int     `yaml:"epochs,omitempty" json:"epochs,omitempty" jsonschema_description:"passes over the dataset"`
	Tokens       int64   `yaml:"tokens,omitempty" json:"tokens,omitempty" jsonschema_description:"tokens to train on, instead of epochs"`
	BatchTokens  int     `yaml:"batch_tokens" json:"batch_tokens" jsonschema_description:"tokens of one optimiser step"`
	Accumulate   int     `yaml:"accumulate,omitempty" json:"accumulate,omitempty" jsonschema_description:"parts in which a step is computed, one after the other, to take less memory; 1, with a base as many as have 512 tokens or the context"`
	Optimizer    string  `yaml:"optimizer" json:"optimizer" jsonschema_description:"muon or adamw"`
	Precision    string  `yaml:"precision,omitempty" json:"precision,omitempty" jsonschema_description:"of products with weights: fp32; bf16, rounded to bfloat16; or auto (the default), bf16 where this machine is faster at it"`
	LearningRate float64 `yaml:"learning_rate" json:"learning_rate" jsonschema_description:"AdamW's step size"`
	MuonRate     float64 `yaml:"muon_rate" json:"muon_rate" jsonschema_description:"Muon's step size for matrices"`
	EmbedRate    float64 `yaml:"embedding_rate" json:"embedding_rate,omitempty" jsonschema_description:"AdamW's step size for token embeddings; ten times learning_rate if not given"`
	HeadRate     float64 `yaml:"head_rate" json:"head_rate,omitempty" jsonschema_description:"AdamW's step size for the output head; five times learning_rate if not given"`
	Warmup       float64 `yaml:"warmup" json:"warmup" jsonschema_description:"share of the steps that warm up"`
	Decay        float64 `yaml:"decay" json:"decay" jsonschema_description:"share of the steps, at the end, over which the rate falls to 0"`
	Clip         float64 `yaml:"clip" json:"clip" jsonschema_description:"largest norm of the gradient"`
	WeightDecay  float64 `yaml:"weight_decay" json:"weight_decay" jsonschema_description:"decoupled weight decay"`
}

// Eval says whom the student is compared with.
type Eval struct {
	Against []Contestant `yaml:"against" json:"against" jsonschema_description:"teacher; base, the model that the student started from; untrained, a student from nothing as it began; taught, the student before reinforcement; bf16 or int8, the student with its weights in that format; f16, q8_0, q4_0 or q4_1, the student as a GGUF of that type has it; or {recipe: FILE} for another run in this workspace"`

	Weights string `yaml:"weights,omitempty" json:"weights,omitempty" jsonschema:"enum=fp32,enum=blocks" jsonschema_description:"of a student that is an adapter beside a quantised GGUF file: blocks, as the file holds them, which is faster, for the student and its base; default: fp32"`

	// Forgotten is a pointer so that an empty list, which asks for nothing, is told from none.
	Forgotten *[]Forgotten `yaml:"forgotten,omitempty" json:"forgotten,omitempty" jsonschema_description:"of a student with a base: what else it is asked, beside its base, to see what it forgot; default: [general]"`
}

// Forgotten is something that a base may have been able to do and that its student
// is not taught: questions of all kinds with answers that people wrote, a family of
// problems, or a file.
type Forgotten struct {
	Family string `yaml:"family,omitempty" json:"family,omitempty" jsonschema_description:"general, 60 questions of all kinds with experts' answers; or a family of problems"`

	task.Params `yaml:",inline"` // a family's difficulty

	File  string `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"JSONL, CSV or Parquet file of prompts"`
	Field string `yaml:"field,omitempty" json:"field,omitempty" jsonschema_description:"the field that holds the prompt"`
	Gold  string `yaml:"gold,omitempty" json:"gold,omitempty" jsonschema_description:"the field that holds the answer, whose likelihood is compared"`
	Count int    `yaml:"count" json:"count" jsonschema_description:"how many; 60"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: a bare word is a family.
func (f *Forgotten) UnmarshalYAML(decode func(any) error) error {
	var name string
	if err := decode(&name); err == nil {
		*f = Forgotten{Family: name}
		return nil
	}
	type plain Forgotten
	return decode((*plain)(f))
}

// ExportFile is a format that the student is written in.
type ExportFile struct {
	Format string `yaml:"-"`    // huggingface or gguf
	Type   string `yaml:"gguf"` // of a GGUF's matrices: "" for F32, or F16, Q8_0, Q4_0, Q4_1
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: a bare word is a format.
func (f *ExportFile) UnmarshalYAML(decode func(any) error) error {
	var name string
	if err := decode(&name); err == nil {
		*f = ExportFile{Format: name}
		return nil
	}
	type plain ExportFile
	if err := decode((*plain)(f)); err != nil {
		return err
	}
	f.Format, f.Type = formatGGUF, strings.ToUpper(f.Type)
	return nil
}

// MarshalYAML implements yaml.InterfaceMarshaler.
func (f ExportFile) MarshalYAML() (any, error) { return f.shown(), nil }

// MarshalJSON implements json.Marshaler.
func (f ExportFile) MarshalJSON() ([]byte, error) { return json.Marshal(f.shown()) }

func (f ExportFile) shown() any {
	if f.Type == "" {
		return f.Format
	}
	return map[string]string{f.Format: f.Type}
}

// Contestant is somebody to compare with.
type Contestant struct {
	Name   string `yaml:"name,omitempty" json:"name,omitempty" jsonschema_description:"teacher, base, untrained, bf16, int8, f16, q8_0, q4_0 or q4_1"`
	Recipe string `yaml:"recipe,omitempty" json:"recipe,omitempty" jsonschema_description:"another recipe whose run is in this workspace"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: a bare word is a name.
func (c *Contestant) UnmarshalYAML(decode func(any) error) error {
	var name string
	if err := decode(&name); err == nil {
		*c = Contestant{Name: name}
		return nil
	}
	type plain Contestant
	return decode((*plain)(c))
}

// MarshalYAML implements yaml.InterfaceMarshaler.
func (c Contestant) MarshalYAML() (any, error) {
	if c.Recipe == "" {
		return c.Name, nil
	}
	type plain Contestant
	return plain(c), nil
}

// Load reads a recipe file, fills in defaults and checks every value.
func Load(path string) (*Recipe, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a recipe from memory. Files that it names are relative to the
// directory of path.
func Parse(path string, data []byte) (*Recipe, error) {
	r := &Recipe{}
	src, err := strict.Decode(path, "a recipe", data, r)
	if err != nil {
		return nil, err
	}
	r.dir, r.src = filepath.Dir(path), &source{src}
	r.fillDefaults()
	if err := r.validate(); err != nil {
		return nil, err
	}
	return r, nil
}

// YAML prints the recipe with every default written out.
func (r *Recipe) YAML() ([]byte, error) {
	return yaml.MarshalWithOptions(r, yaml.Indent(2), yaml.IndentSequence(true))
}

// File returns the path of a file that the recipe names.
func (r *Recipe) File(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}

// Files are those that the recipe names, as it names them.
func (r *Recipe) Files() []string {
	var out []string
	for _, f := range r.files() {
		out = append(out, f.name)
	}
	return out
}

// namedFile is a file whose contents decide the result.
type namedFile struct{ path, name string } // path is its place in the recipe

// files lists them in the order of the recipe.
func (r *Recipe) files() []namedFile {
	var out []namedFile
	add := func(path, name string) {
		if name != "" {
			out = append(out, namedFile{path, name})
		}
	}
	for i, p := range r.Prompts {
		path := at("prompts", i)
		add(path+".file", p.File)
		add(path+".heldout.file", p.Heldout.File)
		add(path+".system", p.System)
		add(path+".shots", p.Shots)
		add(path+".imported", p.Imported)
	}
	if r.Eval.Forgotten != nil {
		for i, f := range *r.Eval.Forgotten {
			add(at("eval.forgotten", i)+".file", f.File)
		}
	}
	for i, v := range r.Verify {
		add(at("verify", i), v.File())
	}
	if r.Terms != nil {
		for i, a := range r.Terms.Agreements {
			add(at("terms.agreements", i), a)
		}
	}
	return out
}

// Hash names what decides the result of a run: the recipe and the contents of
// the files that it names, but neither its budget nor its limits, which only
// say how far and how fast it comes, nor what the model is called and what the
// gate is to let pass at export, which decide nothing before export.
func (r *Recipe) Hash() (string, error) {
	c := *r
	c.Budget, c.Teacher.Limits = Budget{}, Limits{}
	c.Model, c.Terms = nil, r.Terms.beforeExport()
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("recipe %s: %w", r.Name, err)
	}
	canonical, err := exchange.CanonicalJSON(raw)
	if err != nil {
		return "", fmt.Errorf("recipe %s: %w", r.Name, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "retort recipe %d\n%d\n%s\n", Version, len(canonical), canonical)
	for _, f := range r.files() {
		data, err := os.ReadFile(r.File(f.name))
		if err != nil {
			return "", r.src.errorf(f.path, "%v", err)
		}
		fmt.Fprintf(h, "%x\n", sha256.Sum256(data))
	}
	if r.Student.Base != "" {
		sum, err := r.baseHash()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// RunName is the name of the directory of this recipe's run.
func (r *Recipe) RunName() (string, error) {
	hash, err := r.Hash()
	if err != nil {
		return "", err
	}
	return r.runName(hash), nil
}

func (r *Recipe) runName(hash string) string { return r.Name + "-" + hash[:12] }
