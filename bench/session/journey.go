package main

// journey is the way from nothing to a model that answers, at a twentieth of
// the quickstart's size.
func journey() []step {
	return []step{
		{name: "help", line: nil, want: []string{"retort init", "Distil:"}},
		{
			name: "init", line: []string{"init"},
			answers: []answer{
				{"What will the model be for", ""}, {"leave your organisation", "perhaps"}, {"yes or no", ""}, {"Who is the teacher", "1"},
				{"What is it asked", "mulitply"}, {"there is neither", "multiply,chain,list"}, {"How many examples", "600"}, {"What budget", "1"}, {"What is it called", ""}, {"Which model is taught", ""},
			},
			want: []string{"first.yaml", "Next:", "retort doctor first.yaml"},
		},
		{name: "recipe check", line: []string{"recipe", "check", "first.yaml"}, want: []string{"a recipe"}},
		{name: "doctor", line: []string{"doctor", "first.yaml"}, want: []string{"GFLOP/s", "synced write", "reference: allow", "all well"}},
		{name: "run --plan", line: []string{"run", "--plan", "first.yaml"}, want: []string{"at most"}},
		{name: "run --sample", line: []string{"run", "--sample", "20", "first.yaml"}, want: []string{"expected"}},
		{name: "run, interrupted", line: []string{"run", "first.yaml"}, answers: []answer{{"train", interrupt}}, code: 130, want: []string{"the same command goes on"}},
		{name: "run", line: []string{"run", "first.yaml"}, want: []string{"held-out", "retort chat"}},
		{
			name: "run another", line: []string{"run", "second.yaml"}, want: []string{"held-out"},
			prepare: func(s *session) error {
				return s.edit("first.yaml", "second.yaml", "name: first", "name: second", "epochs: 5", "epochs: 1")
			},
		},
		{name: "runs list", line: []string{"runs", "list"}, want: []string{"first-", "second-", "finished"}},
		{name: "compare", line: []string{"compare", "first", "second"}, want: []string{"overall"}},
		{name: "report", line: []string{"report", "first"}, want: []string{"held-out", "written:"}},
		{
			name: "report, quiet and plain", line: []string{"report", "first", "--quiet"}, env: []string{"NO_COLOR=1"},
			want: []string{"held-out"}, without: []string{"written:", "\x1b["},
		},
		{name: "run, quiet", line: []string{"run", "--quiet", "first.yaml"}, want: []string{"held-out"}, without: []string{"collect  "}},
		{
			name: "chat", line: []string{"chat", "first", "--max-tokens", "40"},
			answers: []answer{{"> ", "What is 12 times 34?"}, {"> ", ""}},
		},
	}
}

// refusals are a newcomer's mistakes. Each screen must say what to do next.
func refusals() []step {
	return []step{
		{name: "no such command", line: []string{"rnu", "first.yaml"}, code: 2, want: []string{"did you mean `retort run`"}},
		{name: "no recipe", line: []string{"run"}, code: 2, want: []string{"retort run RECIPE", "See `retort run --help`"}},
		{name: "no such recipe", line: []string{"run", "frist.yaml"}, code: 1, want: []string{"frist.yaml", "Is the name right?"}},
		{
			name: "a mistake in the recipe", line: []string{"recipe", "check", "wrong.yaml"}, code: 2, want: []string{"wrong.yaml:", `did you mean "epochs"?`},
			prepare: func(s *session) error { return s.edit("first.yaml", "wrong.yaml", "epochs: 5", "epoch: 5") },
		},
		{
			name: "a budget that is too small", line: []string{"run", "poor.yaml"}, code: 3, want: []string{"budget", "the same command goes on"},
			prepare: func(s *session) error {
				return s.edit("first.yaml", "poor.yaml", "name: first", "name: poor\nseed: 7", "seed: 1 ", "# seed: 1 ", "usd: 1", "usd: 0.001")
			},
		},
		{
			name: "terms that forbid it", line: []string{"run", "forbidden.yaml"}, code: 4, want: []string{"openai", "agreement"},
			prepare: func(s *session) error {
				return s.write("forbidden.yaml", "retort: 1\nname: forbidden\nteacher: {base_url: \"https://api.openai.com/v1\", model: gpt-x, price: {input: 1, output: 1}}\nbudget: {usd: 1}\nprompts: [{family: chain, train: 10, heldout: 2}]\n")
			},
		},
		{name: "doctor on the same", line: []string{"doctor", "forbidden.yaml"}, code: 4, want: []string{"next: choose another teacher"}},
		{
			name: "nobody at the address", line: []string{"doctor", "nobody.yaml"}, code: 1, want: []string{"next: start the server"},
			prepare: func(s *session) error {
				return s.write("nobody.yaml", "retort: 1\nname: nobody\nteacher: {base_url: \"http://127.0.0.1:1/v1\", model: m, terms: self-hosted}\nprompts: [{family: chain, train: 10, heldout: 2}]\n")
			},
		},
		{name: "a recipe that is there", line: []string{"init", "--yes", "--examples", "700"}, code: 2, want: []string{"--output", "--force"}},
		{name: "no such run", line: []string{"report", "third"}, code: 2, want: []string{"first-"}},
		{name: "nothing to compare with", line: []string{"compare", "first", "third"}, code: 2, want: []string{"first-"}},
		{name: "no such model", line: []string{"chat", "nothing"}, code: 2, want: []string{"first-"}},
		{name: "no such exchange", line: []string{"ledger", "show", "nonsense"}, code: 2, want: []string{"retort ledger show"}},
		{name: "no such help", line: []string{"help", "nonsense"}, code: 2, want: []string{"See `retort help --help`"}},
		{name: "a key for nobody", line: []string{"serve", "nothing", "--api-key-env", "KEY"}, code: 2, want: []string{"KEY is not set"}},
		{name: "Ctrl-C at a question", line: []string{"init"}, answers: []answer{{"What will", interrupt}}, code: 130, want: []string{"interrupted"}},
	}
}
