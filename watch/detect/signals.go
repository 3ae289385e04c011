package detect

// The groups into which features are gathered when a score is explained.
const (
	groupScaffold = iota
	groupCoverage
	groupReasoning
	groupDataset
	groupYield
	groupTiming
	groupKernel
	groupCount
)

// group is a signal as people are told of it.
type group struct {
	name     string
	features []int
	shows    func(x *[xCount]float32) bool // whether one exchange is an example; nil: any is
	says     string
	innocent string // who else looks so
	change   string // what would lower it
}

var groups = [groupCount]group{
	groupScaffold: {
		name:     "scaffold reuse",
		features: []int{xTemplated, xSystem, fPrefixShare, fSuffixShare, fSystemShare},
		shows:    func(x *[xCount]float32) bool { return x[xTemplated] > 0 },
		says:     "its prompts share a beginning or an end",
		innocent: "any program that fills a template does so: extraction, classification, evaluation",
		change:   "see whether the scaffold belongs to a product of theirs",
	},
	groupCoverage: {
		name:     "coverage sweep",
		features: []int{xPrompt, xLines, xDigits, xSymbols, xQuestion, fPromptSpread, fNovel, fFresh, fVocabulary, fGrowth, fNovelAlone, fNovelGrowth, fNeverAgain, fNeverShort},
		says:     "its prompts hardly repeat and range widely",
		innocent: "a reseller whose users are many, or a benchmark run for the first time",
		change:   "more of its traffic: an account that works on something comes back to it",
	},
	groupReasoning: {
		name:     "reasoning elicitation",
		features: []int{xReasoned, xAskedReason, xSteps, xEquations, xAnswerLines},
		shows:    func(x *[xCount]float32) bool { return x[xAskedReason] > 0 || x[xSteps] > 1 || x[xReasoned] > 3 },
		says:     "it has answers worked out in steps",
		innocent: "students, tutors and whoever checks reasoning",
		change:   "see whether the steps are shown to anybody",
	},
	groupDataset: {
		name:     "dataset-shaped use",
		features: []int{xSchema, xSamples, xLogprobs, xRubric, xSeeded, xHot, xGreedy, xLimit, xCut},
		shows:    func(x *[xCount]float32) bool { return x[xSamples] > 0 || x[xSchema] > 0 || x[xRubric] > 1 },
		says:     "its parameters are those of making a dataset: a form, several answers, a high temperature, a generous limit",
		innocent: "synthetic data made by agreement, and tests of one's own product",
		change:   "an attestation of what the answers are for",
	},
	groupYield: {
		name:     "one-way use",
		features: []int{xInput, xOutput, xYield, xSingle, xTurns, xTool, fOutputSpread, fNovelYield, fAlone, fNeverBrief},
		shows:    func(x *[xCount]float32) bool { return x[xSingle] > 0 && x[xOutput] > 5 },
		says:     "it asks once, gets a long answer and never comes back to it",
		innocent: "writing tools, and search that answers each question by itself",
		change:   "conversations that go on",
	},
	groupTiming: {
		name:     "timing and consumption",
		features: []int{xPause, xUnread, xOverlap, fPauseSpread, fHours, fActive, fPace, fAge, fNovelUnread},
		shows:    func(x *[xCount]float32) bool { return x[xUnread] > 0 },
		says:     "nobody can have read its answers before the next question came",
		innocent: "every program; many people behind one key",
		change:   "say what kind of program it is",
	},
	groupKernel: {
		name:     "unlike ordinary use",
		features: []int{fKernel},
		says:     "all that is measured of its exchanges, taken together, is distributed unlike that of ordinary accounts",
		innocent: "a use that is new here",
		change:   "calibrate again with accounts of that use",
	},
}

// strength is what each group adds to an account's score.
func (m *Model) strength(z *[featureCount]float64) [groupCount]float64 {
	var s [groupCount]float64
	for g := range groups {
		for _, f := range groups[g].features {
			s[g] += m.Weights[f] * z[f]
		}
	}
	return s
}
