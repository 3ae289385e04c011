package terms

import "slices"

// The ids of rows that the program itself names.
const (
	Reference  = "reference"
	SelfHosted = "self-hosted"
	OwnData    = "own-data"
	OpenAI     = "openai"
	SmolLM2    = "smollm2"
)

// read is the day on which the rows below were last gone through. What each
// document's own date was is in its name; how it was read is in Via.
const read = "2026-11-25"

var (
	yes, no = true, false

	// organizing is what the OpenAI agreement's exception is for.
	organizing = []string{"classify", "categorize", "organize", "embed"}
	// narrow are purposes of models that do one thing and are no assistant.
	narrow = append([]string{"extract", "summarize", "search", "sentiment", "anomaly"}, organizing...)
)

// rows are looked through in this order: what blocks stands before what allows
// wherever a name could match both.
var rows = slices.Concat(own, apis, []Row{
	llama("3.1", "July 23, 2024", "llama3_1", "llama-3.1", "llama3.1", "meta-llama-3.1", "deepseek-r1-distill-llama-8b"),
	llama("3.2", "September 25, 2024", "llama3_2", "llama-3.2", "llama3.2", "meta-llama-3.2"),
	llama("3.3", "December 6, 2024", "llama3_3", "llama-3.3", "llama3.3", "meta-llama-3.3", "deepseek-r1-distill-llama-70b"),
	llama("4", "April 5, 2025", "llama4", "llama-4", "llama4", "meta-llama-4"),
}, weights, bases, []Row{selfHosted})

// own is what no other party's document governs.
var own = []Row{
	{
		ID: Reference, Provider: "reference", Document: "Retort's own licence (Apache-2.0)", URL: "apache.org/licenses/LICENSE-2.0", Read: read,
		Basis:   "own program",
		Says:    "The built-in teacher is part of this program; what it writes is computed, and free for any use.",
		Default: Allow, Reason: "the built-in teacher's answers are free for any use",
	},
	{
		ID: OwnData, Provider: OwnData, Document: "your own statement that you wrote the answers or hold the rights in them",
		Basis:   "own data",
		Says:    "Nobody else's document governs answers that you or your people wrote; rights of those whose text they hold remain.",
		Default: Allow, Reason: "the answers are your own, as you state",
		Obligations: []Obligation{{Kind: Duty, Text: "Make sure that the people whose text the data holds have agreed to this use of it."}},
	},
}

// apis are the services that one buys answers from.
var apis = []Row{
	{
		ID: OpenAI, Provider: "openai", Document: "OpenAI Services Agreement, effective 2026-01-01, section 3.3(e)", URL: "openai.com/policies/services-agreement", Read: read,
		Via:   "section and exception as several public documents quote them from the agreement of that date; of the agreement itself only a stored copy of an earlier edition (2025-05-31), in part",
		Basis: "provider's terms",
		Says: "Output may not be used to develop models that compete with OpenAI's products and services. Excepted are models that mainly classify, " +
			"categorize or organize data and are neither distributed nor offered to others, and OpenAI's own fine-tuning.",
		Default: Block, Reason: "the agreement forbids using output to develop models that compete with OpenAI's",
		Rules: []Rule{{
			Purposes: organizing, Distributed: &no,
			Decision: Review, Reason: "the exception for models that classify or organize data and are not distributed may cover this; have it confirmed for your agreement",
		}},
		Hosts:  []string{"openai.com"},
		Models: []string{"text-davinci", "gpt-3", "gpt-3.5", "gpt-4", "gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt", "o1", "o3", "o4-mini"}, Anywhere: true,
	},
	{
		ID: "anthropic", Provider: "anthropic", Document: "Anthropic Commercial Terms, effective 2025-06-17, section D.4, and Usage Policy, effective 2025-09-15", URL: "anthropic.com/legal/commercial-terms", Read: read,
		Via: "both clauses as several public documents quote them; the provider's help article on training with outputs (support.claude.com, article 12326764) in a stored copy",
		Says: "The services may not be used to train competing models except as expressly approved, and the usage policy wants prior authorization for training on outputs at all. " +
			"A help article counts narrow tools (classifying, summarizing, extracting, searching, finding anomalies) among what is possible, where they do not compete.",
		Basis:   "provider's terms",
		Default: Block, Reason: "training a model on the outputs needs the provider's prior authorization, and a competing one is forbidden",
		Rules: []Rule{{
			Purposes: narrow,
			Decision: Review, Reason: "the provider's help article names such narrow tools as possible, its usage policy asks for authorization first: get it in writing",
		}},
		Hosts: []string{"anthropic.com", "claude.com"}, Models: []string{"claude", "anthropic.claude"}, Anywhere: true,
	},
	{
		ID: "gemini", Provider: "gemini", Document: "Gemini API Additional Terms of Service, last modified 2026-03-23, Use Restrictions", URL: "ai.google.dev/gemini-api/terms", Read: read,
		Via:     "stored copies of the editions of 2024-10-31 and 2025-02-05 from that address; that the current edition reads the same, from a public document that quotes it",
		Says:    "The services may not be used to develop models that compete with them, nor to extract or replicate any part of them, the underlying models included. What competes is not defined.",
		Basis:   "provider's terms",
		Default: Block, Reason: "the terms forbid developing models that compete with the Gemini API, and replicating its models",
		Rules: []Rule{{
			Purposes: narrow, Distributed: &no,
			Decision: Review, Reason: "a narrow model for your own use may not compete, but the terms do not say what does; have it confirmed first",
		}},
		Hosts: []string{"generativelanguage.googleapis.com", "aiplatform.googleapis.com", "*-aiplatform.googleapis.com"}, Models: []string{"gemini"}, Anywhere: true,
	},
	{
		ID: "xai", Provider: "xai", Document: "xAI Enterprise Terms of Service, updated 2026-08-14, section 3.2, and Acceptable Use Policy of that date", URL: "x.ai/legal/terms-of-service-enterprise", Read: read,
		Via:     "clauses as several public documents quote them; of the terms themselves only the beginning of an earlier edition (2024-09-05) in a stored copy",
		Says:    "Output may not be used to train language models or other artificial intelligence systems unless an order form says so, whether they compete or not; the use policy forbids distilling.",
		Basis:   "provider's terms",
		Default: Block, Reason: "the terms forbid training any model on output unless your order form permits it",
		Hosts: []string{"x.ai"}, Models: []string{"grok-2", "grok-3", "grok-4", "grok-code", "grok-beta", "grok-vision"}, Anywhere: true,
	},
	{
		ID: "bedrock", Provider: "bedrock", Document: "AWS Service Terms, section 50 (AI services, Amazon Bedrock)", URL: "aws.amazon.com/service-terms", Read: read,
		Via:     "one sentence as a public analysis of the terms (conductatlas.com) quotes it, and that analysis; the terms themselves were not re-read",
		Says:    "The services may not be used to develop foundation models or other large models that compete with Amazon Bedrock or another AWS service. Each model's own provider has terms that apply besides.",
		Basis:   "provider's terms",
		Default: Block, Reason: "the terms forbid developing large models that compete with Amazon Bedrock, and the model's own provider has terms besides",
		Rules: []Rule{{
			Purposes: narrow, Distributed: &no,
			Decision: Review, Reason: "a small, narrow model for your own use may not compete, but the model's own provider has terms besides; have both confirmed first",
		}},
		Hosts: []string{"bedrock-runtime.*.amazonaws.com", "bedrock-runtime-fips.*.amazonaws.com", "bedrock-mantle.*.api.aws"},
	},
	{
		ID: "mistral", Provider: "mistral", Document: "Mistral AI Commercial Terms of Service, effective 2026-09-25, sections 2.2 and 3.3", URL: "legal.mistral.ai/terms/commercial-terms-of-service", Read: read,
		Via: "clauses as several public documents quote them; the beginnings of the Terms of Service of 2025-02-06 and 2025-05-07 in stored copies from mistral.ai/terms",
		Says: "The customer owns output. Image outputs may not train competing image products, and output may not be used to reverse-engineer the products or discover their weights. " +
			"Training on text output is not named.",
		Basis:   "provider's terms",
		Default: Review, Reason: "training on text output is neither allowed nor forbidden in so many words; a person must decide",
		Hosts: []string{"mistral.ai"},
	},
	{
		ID: "deepseek", Provider: "deepseek", Document: "DeepSeek Open Platform Terms of Service, effective 2026-04-29, section 4.2", URL: "cdn.deepseek.com/policies/en-US/deepseek-open-platform-terms-of-service.html", Read: read,
		Via:     "section as many public documents quote it, with that address and date",
		Says:    "Rights in outputs go to the user, who may use inputs and outputs widely; training other models, distillation named, is among the uses listed.",
		Basis:   "provider's terms",
		Default: Allow, Reason: "the terms name training other models, distillation included, as a permitted use",
		Obligations: []Obligation{
			{Kind: Duty, Text: "Do not suggest, in name or marketing, that DeepSeek is behind the model (section 5.2)."},
		},
		Hosts: []string{"deepseek.com"},
	},
}

// llama is the row of one of Meta's licences since 3.1, which differ in name
// and date only as far as training on outputs is concerned.
func llama(version, released, folder string, models ...string) Row {
	licence := "Llama " + version + " Community License Agreement"
	return Row{
		ID: "llama-" + version, Provider: "meta", Document: licence + ", " + released, URL: "github.com/meta-llama/llama-models/blob/main/models/" + folder + "/LICENSE", Read: read,
		Via:   "the licence's text in that repository",
		Basis: "licence",
		Says: "Outputs may be used to train another model. If that model is distributed or made available, its name begins with Llama; " +
			"who distributes the materials, what derives from them or what contains them hands over the licence and displays Built with Llama.",
		Default: Allow, Reason: "the licence provides for training other models on outputs, with duties",
		Obligations: []Obligation{
			{Kind: NamePrefix, Value: "Llama", Distributed: true, Text: `The model's name begins with "Llama" (section 1.b.i).`},
			{Kind: Notice, Value: "Built with Llama", Distributed: true, Text: `"Built with Llama" is displayed with the model (section 1.b.i; asked for what derives from the materials, and to be safe of a model trained on their outputs).`},
			{Kind: Licence, Value: licence, Distributed: true, Text: "A copy of the " + licence + " goes with the model (section 1.b.i, likewise)."},
			{Kind: Duty, Text: "The licence's acceptable use policy applies, and with more than 700 million monthly users at its release you need Meta's permission (sections 1.b.iv and 2)."},
		},
		Models: models, Licences: []string{"llama" + version},
	}
}

// weights are models that one serves oneself, by the licence of their weights.
var weights = []Row{
	{
		ID: "llama-3", Provider: "meta", Document: "Meta Llama 3 Community License Agreement, April 18, 2024, section 1.b.v", URL: "github.com/meta-llama/llama3/blob/main/LICENSE", Read: read,
		Via:     "the licence's text in that repository",
		Says:    "Neither the materials nor any output may be used to improve another large language model than Llama 3 and what derives from it.",
		Basis:   "licence",
		Default: Block, Reason: "the licence forbids improving any other large language model with its outputs; Llama 3.1 and later allow it",
		Models: []string{"llama-3", "llama3", "meta-llama-3"},
	},
	{
		ID: "llama-2", Provider: "meta", Document: "Llama 2 Community License Agreement, July 18, 2023, section 1.b.v", URL: "ai.meta.com/llama/license", Read: read,
		Via:     "the clause as several public documents quote it; the date from memory of the published document, not re-read",
		Says:    "Neither the materials nor any output may be used to improve another large language model than Llama 2 and what derives from it.",
		Basis:   "licence",
		Default: Block, Reason: "the licence forbids improving any other large language model with its outputs",
		Models: []string{"llama-2", "llama2", "codellama", "code-llama"},
	},
	{
		ID: "deepseek-mit", Provider: "deepseek", Document: "DeepSeek-R1 README, section 7, and MIT License", URL: "github.com/deepseek-ai/DeepSeek-R1", Read: read,
		Via:     "the README in that repository; that V3-0324, V3.1, V3.2 and V4 are under MIT too, from public documents and memory",
		Says:    "The weights are under MIT; derivative works, distillation into other language models named, are allowed. Distilled Llama models keep Llama's licence.",
		Basis:   "licence",
		Default: Allow, Reason: "the MIT License allows any use, and the README names distillation",
		Models: []string{"deepseek-r1", "deepseek-v3-0324", "deepseek-v3.1", "deepseek-v3.2", "deepseek-v4"},
	},
	{
		ID: "deepseek-model", Provider: "deepseek", Document: "DeepSeek License Agreement 1.0, 23 October 2023", URL: "github.com/deepseek-ai/DeepSeek-V3/blob/main/LICENSE-MODEL", Read: read,
		Via:     "stored copies of its beginning, and its definition of derivatives as public documents quote it",
		Says:    "A model trained on outputs to perform similarly is a derivative of the model; whoever passes it on passes the licence's use restrictions on.",
		Basis:   "licence",
		Default: Review, Reason: "a model trained on the outputs may be a derivative that carries the licence's use restrictions on; a person must decide",
		Models: []string{"deepseek-v3", "deepseek-v2", "deepseek-coder", "deepseek-llm"},
	},
	{
		ID: "gemma", Provider: "google", Document: "Gemma Terms of Use, last modified 2026-04-01 (Gemma 1 to 3n)", URL: "ai.google.dev/gemma/terms", Read: read,
		Via:     "its definition of derivatives as several public documents quote it; the rest from memory of the published document, not re-read",
		Says:    "A model trained on outputs so that it performs similarly is a derivative, which is passed on only with the terms' use restrictions, a notice and a copy of them. Gemma 4 is under Apache-2.0 instead.",
		Basis:   "licence",
		Default: Review, Reason: "a model trained on the outputs may be a derivative that carries the terms' restrictions on; a person must decide",
		Rules:    []Rule{{Actions: []Action{Adapt}, Decision: Review, Reason: "a model that is made of the weights is a derivative, which carries the terms' restrictions on; a person must decide"}},
		Licences: []string{"gemma"},
		Models:   []string{"gemma-2b", "gemma-7b", "gemma-1.1", "gemma-2", "gemma2", "gemma-3", "gemma3", "gemma-3n", "gemma3n", "codegemma"},
	},
	{
		ID: "mistral-research", Provider: "mistral", Document: "Mistral AI Research License 0.1", URL: "mistral.ai/licenses/MRL-0.1.md", Read: read,
		Via:     "the beginning of the licence in stored copies of the model cards that print it",
		Says:    "The licence governs outputs too; what it does not expressly authorize needs a licence from Mistral AI. It is for research.",
		Basis:   "licence",
		Default: Review, Reason: "the licence covers outputs and is for research; other uses need Mistral AI's permission",
		Models: []string{"mistral-large", "mistral-small-instruct-2409", "ministral-8b-instruct-2410", "pixtral-large"},
	},
	{
		ID: "qwen-research", Provider: "alibaba", Document: "Qwen Research License Agreement, September 19, 2024", URL: "huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE", Read: read,
		Via:     "its opening in a stored copy, and clauses as several public documents quote them",
		Says:    "For research and evaluation only, not commercial; a model trained on outputs and made available displays Built with Qwen or Improved using Qwen.",
		Basis:   "licence",
		Default: Review, Reason: "the licence is for non-commercial use; commercial use needs Alibaba's permission",
		Obligations: []Obligation{{Kind: Notice, Value: "Improved using Qwen", Distributed: true, Text: `"Improved using Qwen" is displayed in the model's documentation.`}},
		Licences:    []string{"qwen-research"},
		Models:      []string{"qwen2.5-3b", "qwen2.5-coder-3b", "qwen2.5-vl-3b"},
	},
	{
		ID: "qwen-license", Provider: "alibaba", Document: "Qwen License Agreement, September 19, 2024", URL: "huggingface.co/Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE", Read: read,
		Via:     "its opening in a stored copy; the clause on outputs, and that it permits training other models on them, in a stored thread of the model's page",
		Says:    "Outputs may be used to train another model; if it is distributed or made available, its documentation displays Built with Qwen or Improved using Qwen.",
		Basis:   "licence",
		Default: Allow, Reason: "the licence provides for training other models on outputs, with a duty",
		Obligations: []Obligation{
			{Kind: Notice, Value: "Improved using Qwen", Distributed: true, Text: `"Improved using Qwen" is displayed in the model's documentation.`},
			{Kind: Duty, Text: "With more than 100 million monthly users you need Alibaba Cloud's permission."},
		},
		Licences: []string{"qwen"},
		Models:   []string{"qwen2.5-72b", "qwen2.5-vl-72b", "qwen2.5-math-72b"},
	},
	{
		ID: "tongyi-qianwen", Provider: "alibaba", Document: "Tongyi Qianwen License Agreement, section 5.b", URL: "github.com/QwenLM/Qwen", Read: read,
		Via:     "the clause in a stored copy of the licence, whose own address is not known; which models are under it from a stored thread of Qwen2-72B's page and from memory",
		Says:    "Neither the materials nor any output may be used to improve another large language model than Tongyi Qianwen and what derives from it.",
		Basis:   "licence",
		Default: Block, Reason: "the licence forbids improving any other large language model with its outputs",
		Models: []string{"qwen2-72b", "qwen1.5-72b", "qwen1.5-110b", "qwen-7b", "qwen-14b", "qwen-72b"},
	},
	{
		ID: "qwen", Provider: "alibaba", Document: "Qwen3 README, License Agreement, Qwen2.5 model cards, and Apache License 2.0", URL: "github.com/QwenLM/Qwen3", Read: read,
		Via:     "the Qwen3 README in that repository; for Qwen2 and Qwen2.5 statements on stored pages of the models",
		Says:    "The open weights of Qwen3, and of most sizes of Qwen2 and Qwen2.5, are under Apache-2.0, which lays no claim to what the model writes.",
		Basis:   "licence",
		Default: Allow, Reason: "Apache-2.0 allows any use, and says nothing about outputs",
		Obligations: []Obligation{
			{Kind: Duty, Text: "A student that contains Qwen's weights carries their licence text and notices (Apache-2.0, section 4)."},
		},
		Models: []string{"qwen3", "qwen2.5", "qwen2.5-coder", "qwen2", "deepseek-r1-distill-qwen"},
	},
	{
		ID: SmolLM2, Provider: "smollm2", Document: "SmolLM2 model cards and Apache License 2.0", URL: "huggingface.co/HuggingFaceTB", Read: read,
		Via:     "stored copies of the model cards",
		Basis:   "licence",
		Says:    "The weights are under Apache-2.0, which lays no claim to what the model writes.",
		Default: Allow, Reason: "Apache-2.0 allows any use, and says nothing about outputs",
		Obligations: []Obligation{
			{Kind: Duty, Text: "A student that contains SmolLM2's weights carries their licence text and notices (Apache-2.0, section 4)."},
		},
		Models: []string{"smollm2"},
	},
}

// selfHosted is what remains of a server of one's own.
var selfHosted = Row{
	ID: SelfHosted, Provider: SelfHosted, Basis: "own server",
	Document: "the licence of the model that you serve", Read: "",
	Says:    "You run the model; its licence decides, and you know it.",
	Default: Allow, Reason: "the model runs on your own server, under a licence that you have accepted",
	Obligations: []Obligation{{Kind: Duty, Text: "Check that the licence of the served model allows training other models on its outputs, and name it in the model card."}},
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
func IDs() []string { return registry.IDs() }
