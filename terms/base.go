package terms

import (
	"fmt"
	"slices"
	"strings"
)

// Adapt is what is done with a base model and not with answers: its weights are
// changed or added to, and go into the student.
const Adapt Action = "adapt"

// OwnModel is the row of weights that are the user's own.
const OwnModel = "own-model"

// Base says which weights are adapted, for finding the row that governs them.
type Base struct {
	Row     string // the row that the recipe states; "" to find it from the licence
	License string // as the model's files name it, such as an SPDX identifier; "" if they do not
}

// LookupBase finds the row that governs a base's weights: the one that the recipe
// states, unless the files name a licence of another row that does not allow
// everything; else that of the licence. A licence that no row knows gets a row
// whose decision is Review.
func (g *Registry) LookupBase(b Base) (Row, error) {
	license := strings.ToLower(strings.TrimSpace(b.License))
	found, known := g.first(func(r Row) bool { return license != "" && slices.Contains(r.Licences, license) })
	if b.Row == "" {
		if !known {
			found = unknownBase(b.License)
		}
		return found, nil
	}
	stated, err := g.Row(b.Row)
	if err != nil {
		return Row{}, err
	}
	if known && found.ID != stated.ID && found.Default != Allow && stated.SHA256 == "" {
		return Row{}, fmt.Errorf("terms row %q does not apply: the base's files name the licence %q, which is row %q (%s); an agreement of your own, or an override of that row, can say otherwise",
			stated.ID, b.License, found.ID, found.Document)
	}
	return stated, nil
}

func unknownBase(license string) Row {
	reason := "the base's files name no licence"
	if license != "" {
		reason = fmt.Sprintf("no row knows the licence %q that the base's files name", license)
	}
	return Row{ID: unknownID, Basis: "none", Default: Review, Reason: reason}
}

// bases are the licences of weights that say nothing of outputs, and so govern a
// base and no teacher.
var bases = []Row{
	{
		ID: OwnModel, Provider: OwnModel, Document: "your own statement that the weights are yours or that you hold the rights in them", Basis: "own model",
		Says:    "Nobody else's licence governs weights that you made; terms of what they were trained on remain.",
		Default: Allow, Reason: "the weights are your own, as you state",
		Obligations: []Obligation{{Kind: Duty, Text: "What the base's own passport says of its training data holds for the student too."}},
	},
	{
		ID: "apache-2.0", Provider: "apache", Document: "Apache License 2.0, section 4", URL: "apache.org/licenses/LICENSE-2.0", Read: read,
		Via:     "from memory of the published document, not re-read",
		Basis:   "licence",
		Says:    "Derivative works are allowed; who distributes them hands over the licence, keeps notices and says that files were changed.",
		Default: Allow, Reason: "the licence allows derivative works, with duties",
		Obligations: []Obligation{
			{Kind: Licence, Value: "Apache License", Distributed: true, Text: "A copy of the Apache License 2.0, and the base's NOTICE if it has one, go with the model (section 4.a and d)."},
		},
		Licences: []string{"apache-2.0"},
	},
	{
		ID: "mit", Provider: "mit", Document: "MIT License", URL: "opensource.org/license/mit", Read: read,
		Via:     "from memory of the published document, not re-read",
		Basis:   "licence",
		Says:    "Any use is allowed; copies and substantial portions carry the copyright and permission notice.",
		Default: Allow, Reason: "the licence allows any use, with a notice",
		Obligations: []Obligation{
			{Kind: Licence, Value: "MIT License", Distributed: true, Text: "The base's copyright notice and the licence's text go with the model."},
		},
		Licences: []string{"mit"},
	},
	{
		ID: "public-domain", Provider: "public", Document: "CC0 1.0 or Unlicense", URL: "creativecommons.org/publicdomain/zero/1.0", Read: read,
		Via:     "from memory of the published documents, not re-read",
		Basis:   "licence",
		Says:    "Rights are waived; any use is allowed.",
		Default: Allow, Reason: "rights in the weights are waived",
		Licences: []string{"cc0-1.0", "unlicense"},
	},
	{
		ID: "base-llama-3", Provider: "meta", Document: "Meta Llama 3 Community License Agreement, April 18, 2024, section 1.b", URL: "github.com/meta-llama/llama3/blob/main/LICENSE", Read: read,
		Via:     "the licence's text in that repository",
		Basis:   "licence",
		Says:    "Derivative works of Llama 3 are allowed; one that is distributed is called Llama 3 first, displays Built with Meta Llama 3, and carries the licence.",
		Default: Allow, Reason: "the licence allows derivative works, with duties",
		Obligations: []Obligation{
			{Kind: NamePrefix, Value: "Llama 3", Distributed: true, Text: `The model's name begins with "Llama 3" (section 1.b.i).`},
			{Kind: Notice, Value: "Built with Meta Llama 3", Distributed: true, Text: `"Built with Meta Llama 3" is displayed with the model (section 1.b.i).`},
			{Kind: Licence, Value: "Meta Llama 3 Community License Agreement", Distributed: true, Text: "A copy of the Meta Llama 3 Community License Agreement goes with the model (section 1.b.i)."},
		},
		Licences: []string{"llama3"},
	},
	{
		ID: "cc-by-nc", Provider: "creative-commons", Document: "Creative Commons licences with NonCommercial", URL: "creativecommons.org/licenses/by-nc/4.0", Read: read,
		Via:     "from memory of the published documents, not re-read",
		Basis:   "licence",
		Says:    "Sharing and adapting are allowed for purposes that are not primarily commercial, with attribution.",
		Default: Review, Reason: "the licence allows no commercial use; whether yours is none a person must decide",
		Licences: []string{"cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-3.0", "cc-by-nc-sa-3.0"},
	},
	{
		ID: "no-derivatives", Provider: "creative-commons", Document: "Creative Commons licences with NoDerivatives", URL: "creativecommons.org/licenses/by-nd/4.0", Read: read,
		Via:     "from memory of the published documents, not re-read",
		Basis:   "licence",
		Says:    "Adapted material may be made and not be shared.",
		Default: Allow, Reason: "adapted material may be made for your own use",
		Rules:    []Rule{{Distributed: &yes, Decision: Block, Reason: "adapted material may not be shared"}},
		Licences: []string{"cc-by-nd-4.0", "cc-by-nc-nd-4.0"},
	},
}
