package terms

// The ids of the rows that come with the program.
const (
	Reference  = "reference"
	SelfHosted = "self-hosted"
	OpenAI     = "openai"
	SmolLM2    = "smollm2"
)

var notDistributed = false

// rows are looked through in this order.
var rows = []Row{
	{
		ID: Reference, Provider: "reference", Document: "Retort's own licence (Apache-2.0)", URL: "apache.org/licenses/LICENSE-2.0", Read: "2026-11-25",
		Basis:   "own program",
		Says:    "The built-in teacher is part of this program; what it writes is computed, and free for any use.",
		Default: Allow, Reason: "the built-in teacher's answers are free for any use",
	},
	{
		ID: OpenAI, Provider: "openai", Document: "OpenAI Services Agreement and Terms of Use", URL: "openai.com/policies", Read: "2026-11-25",
		Via:   "published copies of the wording, not the provider's own page; the exception for classifiers from memory of it",
		Basis: "provider's terms",
		Says: "Output may not be used to develop models that compete with OpenAI; the agreement for businesses excepts, among others, " +
			"models that classify or organise data and are not distributed.",
		Default: Block, Reason: "the terms forbid using output to develop models that compete with OpenAI's",
		Rules: []Rule{{
			Purposes: []string{"classify", "categorize", "embed", "organize"}, Distributed: &notDistributed,
			Decision: Review, Reason: "an exception for classifiers and the like that are not distributed may apply to your agreement; have that confirmed first",
		}},
		Hosts: []string{"openai.com"}, Models: []string{"gpt-3.5", "gpt-4", "gpt-4o", "gpt-5", "chatgpt", "o1", "o3", "o4-mini"}, Anywhere: true,
	},
	{
		ID: SmolLM2, Provider: "smollm2", Document: "SmolLM2 model cards and Apache License 2.0", URL: "huggingface.co/HuggingFaceTB", Read: "2026-11-25",
		Via:     "published copies of the model cards",
		Basis:   "licence",
		Says:    "The weights are under Apache-2.0, which lays no claim to what the model writes.",
		Default: Allow, Reason: "Apache-2.0 allows any use, and says nothing about outputs",
		Obligations: []Obligation{
			{Kind: Duty, Text: "A student that contains SmolLM2's weights carries its licence text and notices (Apache-2.0, section 4)."},
		},
		Models: []string{"smollm2"},
	},
	{
		ID: SelfHosted, Provider: SelfHosted, Basis: "own server",
		Document: "the licence of the model that you serve", Read: "",
		Says:    "You run the model; its licence decides, and you know it.",
		Default: Allow, Reason: "the model runs on your own server, under a licence that you have accepted",
		Obligations: []Obligation{{Kind: Duty, Text: "Check that the licence of the served model allows training other models on its outputs, and name it in the model card."}},
	},
}

var registry = func() *Registry {
	g, err := NewRegistry(rows...)
	if err != nil {
		panic(err) // the rows above are constants, and tested
	}
	return g
}()

// Default is the registry that comes with the program.
func Default() *Registry { return registry }

// Lookup finds a row in the default registry.
func Lookup(s Source) (Row, error) { return registry.Lookup(s) }

// IDs are the ids of the default registry's rows.
func IDs() []string {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return ids
}
