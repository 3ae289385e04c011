package simulate

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// grammar makes texts where no real ones are at hand. Sentences are made once and
// shared: a stream of millions of calls puts them together.
type grammar struct {
	topics    []topic
	sentences [][]string // by topic
	answers   map[shape][]string
	lines     []string // of code
}

// topic is a field that people ask about.
type topic struct {
	name  string
	nouns []string
}

// shape is what an answer looks like.
type shape int

const (
	shapeLabel  shape = iota // a word or a letter
	shapeJSON                // an object
	shapeProse               // paragraphs
	shapeSteps               // numbered steps that lead to a result
	shapeCode                // lines of code
	shapeItems               // a numbered list of made things
	shapeChoice              // a tool is called
)

var fields = `cooking: recipe, sauce, oven, dough, spice, broth, knife, vegetable, dessert, yeast, marinade, grill
travel: itinerary, visa, hostel, museum, flight, luggage, coast, guidebook, ferry, border, market, trail
finance: budget, mortgage, dividend, ledger, invoice, pension, inflation, portfolio, loan, tax, equity, audit
medicine: symptom, dosage, vaccine, therapy, diagnosis, fever, clinic, trial, allergy, surgery, nurse, scan
law: contract, clause, plaintiff, statute, appeal, lease, liability, patent, witness, verdict, tort, deed
history: empire, treaty, revolution, dynasty, archive, siege, trade, monarch, colony, census, chronicle, reform
physics: momentum, photon, entropy, lattice, gravity, orbit, plasma, spin, lens, circuit, wave, torque
biology: enzyme, membrane, genome, habitat, predator, neuron, fossil, pollen, virus, mutation, tissue, larva
chemistry: polymer, catalyst, solvent, isotope, titration, alloy, acid, crystal, bond, reagent, oxide, vapour
programming: function, compiler, thread, cache, parser, queue, pointer, closure, index, mutex, socket, schema
databases: query, join, transaction, replica, shard, cursor, trigger, view, migration, backup, lock, partition
security: token, cipher, firewall, certificate, exploit, audit, password, sandbox, phishing, patch, hash, proxy
music: melody, chord, rhythm, violin, tempo, lyric, studio, mixer, octave, choir, remix, concerto
film: scene, script, camera, editor, trailer, montage, actor, sequel, lighting, festival, genre, stunt
sports: coach, tournament, sprint, penalty, league, stamina, referee, racket, marathon, training, injury, medal
gardening: soil, compost, pruning, seedling, hedge, irrigation, bulb, pest, mulch, orchard, greenhouse, weed
education: syllabus, seminar, essay, lecture, exam, rubric, tutor, scholarship, library, thesis, grade, lesson
marketing: campaign, slogan, audience, banner, funnel, brand, survey, newsletter, launch, discount, persona, click
logistics: warehouse, pallet, courier, route, customs, inventory, freight, depot, barcode, delay, fleet, dock
housing: tenant, plumbing, insulation, roof, balcony, broker, heating, permit, garage, lease, paint, boiler
energy: turbine, battery, grid, solar, reactor, pipeline, meter, emission, storage, fuel, dam, efficiency
climate: glacier, drought, carbon, monsoon, forest, flood, ocean, forecast, ozone, coral, wildfire, methane
psychology: memory, habit, anxiety, motive, bias, attention, dream, mood, trauma, empathy, reward, sleep
philosophy: ethics, virtue, paradox, logic, free will, dualism, justice, utility, doubt, essence, meaning, duty
astronomy: comet, nebula, telescope, eclipse, quasar, asteroid, moon, galaxy, rover, parallax, corona, orbit
fashion: fabric, hem, runway, denim, pattern, tailor, silk, wardrobe, button, trend, knitwear, boutique
parenting: toddler, bedtime, tantrum, school, diaper, homework, sibling, allowance, teenager, stroller, reading, chores
pets: puppy, leash, aquarium, vet, litter, parrot, kennel, grooming, hamster, collar, training, adoption
cars: engine, brake, clutch, tyre, mileage, dealer, insurance, hybrid, gearbox, warranty, dashboard, exhaust
games: quest, dungeon, level, console, dice, strategy, avatar, puzzle, speedrun, guild, controller, chess
mathematics: theorem, matrix, integral, prime, proof, vector, polygon, limit, graph, set, ratio, series
statistics: sample, variance, regression, prior, outlier, median, interval, survey, bootstrap, quantile, bias, trial
linguistics: syntax, phoneme, dialect, verb, idiom, grammar, accent, corpus, morpheme, clause, prefix, tone
economics: tariff, demand, subsidy, wage, monopoly, export, deficit, auction, currency, labour, recession, bond
politics: senate, ballot, coalition, lobby, reform, veto, mayor, treaty, referendum, party, scandal, district
religion: temple, scripture, pilgrim, prayer, monastery, ritual, prophet, saint, sermon, fasting, icon, hymn
art: canvas, sculpture, fresco, gallery, pigment, sketch, portrait, curator, mosaic, easel, etching, exhibit
architecture: facade, column, blueprint, vault, atrium, beam, skyline, bridge, stairwell, brick, dome, terrace
aviation: cockpit, runway, altitude, flap, hangar, glider, radar, pilot, turbulence, cargo, rudder, charter
agriculture: harvest, tractor, cattle, wheat, pasture, silo, fertiliser, dairy, barn, crop, seed, plough
networking: router, packet, latency, subnet, switch, bandwidth, gateway, firewall, port, mesh, handshake, tunnel
robotics: sensor, gripper, motor, servo, drone, planner, joint, lidar, battery, chassis, controller, swarm
retail: refund, checkout, shelf, coupon, receipt, supplier, returns, stock, cashier, catalogue, loyalty, display
hospitality: reservation, menu, concierge, waiter, buffet, lobby, checkout, suite, review, tip, banquet, spa
journalism: headline, source, editor, interview, deadline, column, scoop, photo, feature, press, leak, byline
engineering: bridge, load, valve, bearing, prototype, weld, tolerance, pump, stress, gear, fatigue, drawing
telecom: antenna, roaming, spectrum, handset, fibre, tower, signal, operator, tariff, modem, outage, sim
insurance: premium, claim, policy, adjuster, excess, cover, fraud, broker, hazard, liability, renewal, payout`

var (
	verbs      = strings.Fields("changes improves limits explains replaces protects delays reveals combines requires removes supports weakens follows precedes resembles measures repairs defines avoids")
	adjectives = strings.Fields("old new cheap careful local modern simple common unusual heavy quiet broken early final public private gentle sharp complex steady hidden formal urgent seasonal")
	names      = strings.Fields("Ada Ben Chen Dana Emeka Farah Goran Hana Ivan Julia Kofi Lena Mateo Noor Olga Pavel Quinn Rosa Sanjay Tomas Uma Viktor Wen Ximena Yuki Zara")
	codeWords  = strings.Fields("return if else for range err nil func type struct value index count result buffer node list key item total offset size name data ctx input output state next prev left right")
)

func newGrammar() *grammar {
	g := &grammar{answers: make(map[shape][]string)}
	for line := range strings.Lines(fields) {
		name, nouns, _ := strings.Cut(strings.TrimSpace(line), ": ")
		g.topics = append(g.topics, topic{name, strings.Split(nouns, ", ")})
	}
	rng := rand.New(rand.NewPCG(7, 7)) // what is shared is the same in every world
	for i := range g.topics {
		list := make([]string, 160)
		for j := range list {
			list[j] = g.sentence(rng, i)
		}
		g.sentences = append(g.sentences, list)
	}
	for range 600 {
		g.lines = append(g.lines, g.codeLine(rng))
	}
	for s, n := range []int{shapeLabel: 40, shapeJSON: 80, shapeProse: 160, shapeSteps: 120, shapeCode: 80, shapeItems: 60} {
		for range n {
			g.answers[shape(s)] = append(g.answers[shape(s)], g.makeAnswer(rng, shape(s)))
		}
	}
	g.answers[shapeChoice] = []string{""}
	return g
}

func (g *grammar) noun(rng *rand.Rand, t int) string { return pick(rng, g.topics[t].nouns) }

func (g *grammar) sentence(rng *rand.Rand, t int) string {
	n := func() string { return g.noun(rng, t) }
	switch rng.IntN(5) {
	case 0:
		return "The " + pick(rng, adjectives) + " " + n() + " " + pick(rng, verbs) + " the " + n() + "."
	case 1:
		return pick(rng, names) + " said that the " + n() + " " + pick(rng, verbs) + " every " + pick(rng, adjectives) + " " + n() + " in " + g.topics[t].name + "."
	case 2:
		return "After " + strconv.Itoa(2+rng.IntN(60)) + " days a " + n() + " " + pick(rng, verbs) + " the " + pick(rng, adjectives) + " " + n() + "."
	case 3:
		return "In " + g.topics[t].name + ", a " + pick(rng, adjectives) + " " + n() + " rarely " + pick(rng, verbs) + " its " + n() + "."
	}
	return "Without a " + n() + ", no " + pick(rng, adjectives) + " " + n() + " " + pick(rng, verbs) + " anything."
}

// document is a text of about so many sentences on a topic.
func (g *grammar) document(rng *rand.Rand, t, sentences int) string {
	var b strings.Builder
	list := g.sentences[t]
	for i := range max(1, sentences) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(list[rng.IntN(len(list))])
	}
	return b.String()
}

// instruction is something that one may ask of a model, on a topic.
func (g *grammar) instruction(rng *rand.Rand, t int) string {
	n := func() string { return g.noun(rng, t) }
	a := func() string { return pick(rng, adjectives) }
	var s string
	switch rng.IntN(16) {
	case 0:
		s = "Explain how a " + n() + " affects a " + a() + " " + n() + " in " + g.topics[t].name + "."
	case 1:
		s = "Write a short story about a " + a() + " " + n() + " and a lost " + n() + "."
	case 2:
		s = "Compare a " + a() + " " + n() + " with a " + n() + "."
	case 3:
		s = "List " + strconv.Itoa(3+rng.IntN(8)) + " ways to improve a " + n() + " when the " + n() + " is " + a() + "."
	case 4:
		s = "Draft an email to " + pick(rng, names) + " about the " + a() + " " + n() + "."
	case 5:
		s = "What are the main risks of a " + n() + " without a " + n() + "?"
	case 6:
		s = "Summarise the following text.\n\n" + g.document(rng, t, 2+rng.IntN(4))
	case 7:
		s = "Give me a plan for a " + a() + " " + n() + " within " + strconv.Itoa(2+rng.IntN(12)) + " weeks."
	case 8:
		s = "Rewrite this more formally: " + pick(rng, g.sentences[t])
	case 9:
		s = "Why do people in " + g.topics[t].name + " prefer a " + a() + " " + n() + " to a " + n() + "?"
	case 10:
		s = "Classify the statement as true, false or unclear: " + pick(rng, g.sentences[t])
	case 11:
		s = "Describe the history of the " + n() + " to a ten-year-old."
	case 12:
		s = "Write a function that checks whether a " + n() + " has a " + a() + " " + n() + "."
	case 13:
		s = "Which questions should " + pick(rng, names) + " ask before buying a " + a() + " " + n() + "?"
	case 14:
		s = "Design a " + n() + " for a " + a() + " " + n() + " and justify every choice."
	default:
		s = "Translate into plain words: " + pick(rng, g.sentences[t]) + " " + pick(rng, g.sentences[t])
	}
	if rng.IntN(4) == 0 {
		s += " Keep it under " + strconv.Itoa(10*(4+rng.IntN(30))) + " words."
	}
	return s
}

// question is a word problem with one right answer.
func (g *grammar) question(rng *rand.Rand) string {
	t := rng.IntN(len(g.topics))
	n := func() string { return strconv.Itoa(2 + rng.IntN(90)) }
	who, thing, other := pick(rng, names), g.noun(rng, t), g.noun(rng, t)
	switch rng.IntN(8) {
	case 0:
		return who + " has " + n() + " " + thing + "s and buys " + n() + " more for $" + n() + " each. How much did it cost, and how many are there now?"
	case 1:
		return "A " + thing + " costs $" + n() + " and a " + other + " $" + n() + ". " + who + " has $" + n() + "0. How many of both can " + who + " buy?"
	case 2:
		return who + " needs " + n() + " minutes for a " + thing + " and " + n() + " for a " + other + ". How long do " + n() + " of each take?"
	case 3:
		return "Of " + n() + "0 " + thing + "s, " + n() + "% are " + pick(rng, adjectives) + ". How many are not?"
	case 4:
		return "If " + n() + " " + thing + "s weigh as much as " + n() + " " + other + "s, and one " + other + " weighs " + n() + " kg, how much does a " + thing + " weigh?"
	case 5:
		return "A " + pick(rng, adjectives) + " " + thing + " moves at " + n() + " km/h for " + n() + " minutes and then at " + n() + " km/h for " + n() + ". How far does it get?"
	case 6:
		return "The sum of two numbers of " + thing + "s is " + n() + " and their difference is " + n() + ". What is their product?"
	}
	return who + " gives " + n() + "% of " + n() + "0 " + thing + "s away and loses " + n() + " of the rest. How many are left? What share of the first number is that?"
}

// drill makes a kind of problem: the same words each time, with other values. Two
// kinds have other words.
func (g *grammar) drill(rng *rand.Rand) func(*rand.Rand) string {
	t := rng.IntN(len(g.topics))
	thing, other, adj := g.noun(rng, t), g.noun(rng, t), pick(rng, adjectives)
	most := pick(rng, []int{9, 20, 99, 999})
	n := func(rng *rand.Rand) string { return strconv.Itoa(1 + rng.IntN(most)) }
	list := func(rng *rand.Rand, sep string, from, to int) string {
		var b strings.Builder
		for i := range from + rng.IntN(to-from+1) {
			if i > 0 {
				b.WriteString(sep)
			}
			b.WriteString(n(rng))
		}
		return b.String()
	}
	begin := pick(rng, []string{"Work out", "Evaluate", "Find", "Please solve:", "Task:", "Q:", ""})
	end := pick(rng, []string{".", "", " =", " Show the working.", "\nAnswer:", " Give the result on the last line."})
	op := pick(rng, []string{" + ", " - ", " * ", " / ", "^"})
	switch rng.IntN(7) {
	case 0:
		return func(rng *rand.Rand) string { return begin + " " + list(rng, op, 2, 4) + end }
	case 1:
		step := pick(rng, []string{"double", "halve", "negate", "square"})
		return func(rng *rand.Rand) string {
			return "Begin with " + n(rng) + ", " + step + " it, then subtract " + n(rng) + " and multiply by " + n(rng) + "; what is the remainder by " + n(rng) + "?"
		}
	case 2:
		what := pick(rng, []string{"sorted from high to low", "without its second and last", "with each replaced by its double", "turned by three places"})
		return func(rng *rand.Rand) string { return "Write the numbers " + list(rng, " ", 4, 9) + " " + what + end }
	case 3:
		return func(rng *rand.Rand) string {
			return "One " + thing + " is " + n(rng) + " " + other + "s. How many " + other + "s are " + n(rng) + " " + adj + " " + thing + "s" + end
		}
	case 4:
		return func(rng *rand.Rand) string {
			return "Make " + n(rng) + " out of the numbers " + list(rng, ", ", 3, 5) + " with brackets and signs. " + begin
		}
	case 5:
		return func(rng *rand.Rand) string {
			return "A clock shows " + n(rng) + ":" + n(rng) + ". What does it show " + n(rng) + " minutes before the " + thing + " ends, if that takes " + n(rng) + " minutes?"
		}
	}
	return func(rng *rand.Rand) string {
		return "There are " + n(rng) + " " + thing + "s in each of " + n(rng) + " " + other + "s, and " + n(rng) + " are " + adj + ". " + begin + " how many are not" + end
	}
}

// choices are the options of a multiple-choice question.
func (g *grammar) choices(rng *rand.Rand, t int) string {
	var b strings.Builder
	for i := range 4 {
		b.WriteString("\n" + string(rune('A'+i)) + ". the " + pick(rng, adjectives) + " " + g.noun(rng, t))
	}
	return b.String()
}

func (g *grammar) codeLine(rng *rand.Rand) string {
	w := func() string { return pick(rng, codeWords) }
	tab := strings.Repeat("\t", rng.IntN(3))
	switch rng.IntN(5) {
	case 0:
		return tab + w() + " := " + w() + "." + w() + "(" + w() + ", " + strconv.Itoa(rng.IntN(64)) + ")"
	case 1:
		return tab + "if " + w() + " != " + w() + " { return " + w() + " }"
	case 2:
		return tab + "for i := range " + w() + " { " + w() + "[i] += " + w() + " }"
	case 3:
		return tab + "// " + w() + " the " + w() + " of " + w()
	}
	return tab + w() + "." + w() + " = append(" + w() + ", " + w() + ")"
}

// source is about so many lines of code.
func (g *grammar) source(rng *rand.Rand, lines int) string {
	var b strings.Builder
	for range max(1, lines) {
		b.WriteString(g.lines[rng.IntN(len(g.lines))])
		b.WriteByte('\n')
	}
	return b.String()
}

func (g *grammar) makeAnswer(rng *rand.Rand, s shape) string {
	t := rng.IntN(len(g.topics))
	switch s {
	case shapeLabel:
		return pick(rng, []string{"A", "B", "C", "D", "true", "false", "positive", "negative", "neutral", g.noun(rng, t), strconv.Itoa(rng.IntN(400))})
	case shapeJSON:
		return `{"category": "` + g.noun(rng, t) + `", "urgent": ` + strconv.FormatBool(rng.IntN(2) == 0) + `, "score": ` + strconv.Itoa(rng.IntN(10)) + `}`
	case shapeCode:
		return "```go\n" + g.source(rng, 4+rng.IntN(30)) + "```"
	case shapeItems:
		var b strings.Builder
		for i := range 5 + rng.IntN(10) {
			b.WriteString(strconv.Itoa(i+1) + ". " + g.instruction(rng, rng.IntN(len(g.topics))) + "\n")
		}
		return b.String()
	case shapeSteps:
		var b strings.Builder
		for i := range 3 + rng.IntN(6) {
			b.WriteString(strconv.Itoa(i+1) + ". " + pick(rng, g.sentences[t]) + " So " + strconv.Itoa(rng.IntN(90)) + " * " + strconv.Itoa(rng.IntN(90)) + " = " + strconv.Itoa(rng.IntN(8000)) + ".\n")
		}
		return b.String() + "The answer is " + strconv.Itoa(rng.IntN(900)) + "."
	}
	var b strings.Builder
	for i := range 1 + rng.IntN(5) {
		if i > 0 {
			b.WriteString("\n\n")
		}
		b.WriteString(g.document(rng, t, 2+rng.IntN(5)))
	}
	return b.String()
}

func (g *grammar) answer(rng *rand.Rand, s shape) string { return pick(rng, g.answers[s]) }
