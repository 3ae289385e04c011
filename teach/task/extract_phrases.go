package task

// The language of tickets. Each line is a pattern: (a|b|) is a choice, nothing
// among them; {…} is a slot; [ ] encloses a cue, the words by which a reader
// knows; ~ in front says that it fits only what runs on current; \ takes the
// next character as it is. A pattern may be read backwards: every way of saying
// a cue is known to the reader, and words outside of cues mean nothing.
//
// Slots: {p} the product in the customer's words, {ap} with its article, {q}
// and {aq} another product, {n} the order number, {x} another number, {w} a
// weekday, {ago}, {month}, {name}, {city}, {price}, {year}, {phone}, {few}.

// products are what the shop sells: the name that it uses, other names that
// customers use, and whether it runs on current.
var products = []struct {
	name     string
	also     []string
	electric bool
}{
	{"kettle", []string{"water kettle", "electric kettle"}, true},
	{"toaster", []string{"bread toaster"}, true},
	{"blender", []string{"smoothie maker"}, true},
	{"mixer", []string{"stand mixer", "hand mixer"}, true},
	{"microwave", []string{"microwave oven"}, true},
	{"coffee maker", []string{"coffee machine", "espresso machine"}, true},
	{"vacuum", []string{"vacuum cleaner", "hoover"}, true},
	{"iron", []string{"steam iron"}, true},
	{"heater", []string{"fan heater", "bathroom heater"}, true},
	{"lamp", []string{"floor lamp", "reading lamp"}, true},
	{"headset", []string{"gaming headset"}, true},
	{"speaker", []string{"bluetooth speaker", "loudspeaker"}, true},
	{"radio", []string{"kitchen radio", "alarm radio"}, true},
	{"router", []string{"wifi router"}, true},
	{"printer", []string{"inkjet printer", "label printer"}, true},
	{"monitor", []string{"computer screen"}, true},
	{"keyboard", []string{"wireless keyboard"}, true},
	{"webcam", []string{"web camera"}, true},
	{"charger", []string{"phone charger"}, true},
	{"drill", []string{"cordless drill", "power drill"}, true},
	{"mower", []string{"lawn mower", "lawnmower"}, true},
	{"suitcase", []string{"cabin suitcase"}, false},
	{"backpack", []string{"rucksack"}, false},
	{"tent", []string{"two-person tent", "camping tent"}, false},
	{"office chair", []string{"swivel chair"}, false},
	{"bookshelf", []string{"bookcase"}, false},
	{"stroller", []string{"pushchair"}, false},
	{"mattress", []string{"foam mattress"}, false},
}

// How tickets begin: with something owned, something on its way, or something
// that the customer may buy.
var (
	introOwned = []string{
		"i bought {ap} (from you|in your shop|on your site) {ago}",
		"{ago} i bought {ap} (from you|in your shop|on your website)",
		"(this is|i am writing|i write) about the {p} (i bought {ago}|i got from you {ago}|you sent me {ago})",
		"we have had {ap} from your shop since {month}",
		"my {p} came {ago}",
		"the {p} (you sent me|i got from you|from your shop) is (giving me trouble|why i am writing|the reason for this mail)",
		"i have a (question|concern) about the {p} (from your shop|i got {ago}|that came {ago})",
		"there is a problem with the {p} (from your shop|i got {ago}|that came {ago})",
		"{ago} (the postman brought|i unpacked) the {p} (i had ordered|from your shop)",
		"i picked up {ap} in your shop in {city} {ago}",
		"(quick one|one thing|something) about the {p} (from your shop|i bought {ago})",
		"as you can see in your files i bought {ap} {ago}",
		"our {p} (from your shop|which we bought {ago}) (worries|bothers) me",
	}
	introOrdered = []string{
		"{ago} i ordered {ap} (from you|on your site|in your shop|)",
		"i (placed|put in) an order for {ap} {ago}",
		"i am (writing|asking) about the {p} i ordered {ago}",
		"(we|i) ordered the {p} from your (catalogue|site|spring offer) {ago}",
		"there is {ap} on (my|our) account that i ordered {ago}",
		"i have an open order for {ap}",
		"{ago} (my wife|my husband|my partner|my son) ordered {ap} for us",
		"you have an order of mine for {ap}",
		"(this is|it is) about the {p} (i ordered|we ordered) {ago}",
		"i made (an|my) order of {ap} {ago}",
	}
	introConsidering = []string{
		"i am (thinking about|thinking of|considering) buying {ap}",
		"i am looking at the {p} (on your site|in your catalogue|in your spring offer)",
		"(we|i) may get {ap} for (the office|my mother|our new flat|the holiday house)",
		"your {p} caught my eye {ago}",
		"a friend told me about your {p}",
		"i saw the {p} in your (shop window|catalogue|newsletter) {ago}",
		"we want to (give|buy) a colleague {ap}",
		"i am (choosing|deciding) between two shops for {ap}",
	}
)

// What happened.
var (
	causeTransit = []string{
		"it [arrived (broken|damaged|cracked|scratched|dented|in pieces|with a crack|with a broken corner)]",
		"[(the box|the parcel|the carton) (was|came) (crushed|torn|soaked|half open)] and it has a dent",
		"when i opened the box it [was already (broken|cracked|damaged|smashed)]",
		"(i think|apparently|it seems) it [was damaged (on the way|in transit|by the courier|during delivery)]",
		"[you sent (me|us) (the wrong|a different) (colour|size|model|one)]",
		"[i (got|received) the wrong (colour|size|model|one)]",
		"the label is right but [instead of (it|my order) there was {aq} in the (box|parcel)]",
		"[(one part|one screw|the cover|half of it) (is|was) missing]( from the box|)",
		"~[(the cable|the cord|the adapter|the leaflet) (is|was) missing]( from the box|)",
		"[(a|one) part was not in the box]",
	}
	causeLost = []string{
		"[(the parcel|it|the package) never (arrived|came|turned up|reached me)]",
		"[the (courier|driver|postman) (says|claims) he (delivered|left) it but (nothing|no parcel) (came|is here)]",
		"the tracking says delivered but [nothing was ever (delivered|handed over)]",
		"[it seems that the parcel (is lost|got lost|was lost) (on the way|in the post)]",
		"[the (parcel|package) (was lost|went astray|disappeared) (on the way|in the post)]",
	}
	causeFailure = []string{ // of what runs on current
		"it [(stopped working|died|broke down|gave up) after (a few|two|three|ten) (days|weeks)]",
		"[it (does not|will not) (turn|switch) on]( any more|)",
		"[it keeps (switching itself off|switching off|stopping|restarting)]",
		"[there is no sign of life]( when i plug it in|)",
		"[it makes a (terrible|grinding|strange|loud) noise]",
		"the (display|button|switch) [(is dead|does not respond)]( since {w}|)",
		"since {w} [it (only works|works only) (sometimes|now and then|for a minute)]",
		"from one day to the next [it (stopped working|was dead|no longer worked)]",
		"[it (fails|failed|quits) (every time|again and again)]( i use it|)",
		"[the (motor|battery|plug) (is broken|broke|failed|is dead)]",
	}
	causeBroken = []string{ // of what does not
		"[the (handle|frame|joint|edge) (broke|came off|cracked|snapped) (on the first day|after a week|after two weeks|in normal use)]",
		"[it fell apart after (a few|two|three) (days|weeks)]",
		"[one of the (seams|corners|joints|sides) (broke|came open|gave way)]( last week|)",
		"after (a few|two|three) weeks of normal use [it (broke|is broken|came apart)]",
		"[the (surface|cover|front) has a (hole|crack) already]",
		"[it no longer (closes|folds|stands) properly]",
	}
	causeMoney = []string{
		"it is too (big|small|heavy) for (us|our flat|what i need)",
		"i do not like it as much as i thought",
		"it was charged to my card twice",
		"i saw it for (half the price|much less) in another shop",
		"it turned out that (my sister|my husband|my flatmate) already has one",
		"it is not what the (description|picture) promised",
		"i never even opened the box",
		"the price on your site is (much|) lower now",
	}
	causeDanger = []string{
		"(there is|there was|it gives off) [a burning smell]",
		"[(sparks|smoke|flames) (came|come|came shooting) out of (it|the plug|the back)]",
		"[it gave me (a shock|an electric shock|a nasty shock)]",
		"[it gets so hot that (the plug melted|i burned my hand|the table is scorched)]",
		"[the (plug|cable|casing) (melted|is melting|started to melt)]",
	}
)

// What is wanted.
var (
	wantRefund = []string{
		"(please|could you please|kindly) [(refund|reimburse) me]( in full| for it|)",
		"(could|can|would) you [(refund|reimburse) (me|the price|the full price)]?",
		"i [(would like|want|need|expect|would prefer) (a refund|a full refund|my money back|the money back)]",
		"please [(send|transfer|pay) (the money|the full amount|what i paid|my money) back]( to my card| to my account|)",
		"please [put the (money|amount|price) back on my (card|account)]",
		"(can i|could i|may i) [(get|have) (my money|the money) back]?",
		"(all i want|what i want) is [that you pay (me|it|the price) back]",
		"i am sending it back [so please credit (me|my account|my card)]",
		"[please return (the purchase price|my payment|the full amount)]",
		"[i am asking for (a refund|a full refund|my money)]( and nothing else|)",
		"how do i [get my money back] (for this|from you)?",
		"i would be (glad|grateful) if you [(refunded|reimbursed) (me|the price)]",
	}
	wantReplacement = []string{
		"(please|could you please|kindly) [send me (a new one|another one|a new {p}|a replacement|one that works)]",
		"(can|could|would) you [(ship|send|mail) (me|us) (a new one|another {p}|a replacement)]?",
		"i [(would like|want|need|expect|would prefer) (a new one|a replacement|another one|a working one)]",
		"(please|can you please) [(swap|exchange) it for (a new one|another one|one that works|the right one)]",
		"(please|could you) [replace (it|the {p}|this {p})]",
		"(can i|could i|may i) [(get|have) (a new one|a replacement|another one)]?",
		"[i am asking for (a replacement|a new one|an exchange)]",
		"i (hope|trust) that you [will (replace|exchange) it]",
		"just [give me (a new one|one that works|a fresh one)] and we are fine",
		"how do i [get (a replacement|a new one)]?",
		"i would be (glad|grateful) if you [(replaced|exchanged) it]",
	}
	wantRepair = []string{
		"[can (it|this|the {p}) be (repaired|fixed|mended)]?",
		"(please|could you please|kindly) [(repair|fix|mend) (it|the {p}|this)]( for me|)",
		"i [(would like|want|would prefer) (it repaired|it fixed|to have it repaired|to have it fixed)]",
		"(please|could you) [arrange a repair]",
		"(can|could) (i|we) [book a repair] (with you|somewhere near {city})?",
		"where can i [(take|send) it (to be|to get it) (repaired|fixed)]?",
		"(can|could) you [send (a technician|someone to fix it|someone to repair it)]?",
		"[is there a workshop] that (mends|looks after) it?",
		"i am asking you to [have it (repaired|fixed|looked at by a technician)]",
		"do you [(repair|fix) (such things|things like that)]?",
		"[a repair (would|will) (do|be fine|be enough)]( for me|)",
	}
	wantCancellation = []string{
		"(please|could you please|kindly) [cancel (it|the order|my order|this order|the whole order)]",
		"(can|could) (i|you) (still|) [cancel (it|the order|my order|that order)]?",
		"i [(would like|want|wish|need) to cancel]( it| the order|)",
		"(please|just) [stop the order]( if it has not left yet|)",
		"i [withdraw (from the|my) order]",
		"(please|kindly) [call (it|the order) off]",
		"(please|so) [do not (send|ship) it]( any more| after all|)",
		"[i no longer (want|need) (it|the {p}|this order)]",
		"i am [asking you to cancel]( it| the order|)",
		"is it too late to [get out of the order]?",
	}
	wantTracking = []string{
		"[where is (my|the) (parcel|package|delivery|shipment|order) (now|at the moment|right now)]?",
		"[where has (my|the) (parcel|package|order) got to]?",
		"[when (will|should) (it|the parcel|my parcel|the package) (arrive|come|get here|be here|be delivered)]?",
		"(please|could you) [(tell me|let me know|find out) where (it|the parcel|my parcel|the package) is]",
		"[what is the status of (my|the|this) (order|delivery|parcel)]?",
		"(please|could you|can you) [(send|give|mail) me (the|a) tracking (number|link|code)]",
		"[has (it|the parcel|my order|my parcel) (been sent|been shipped|left your warehouse) yet]?",
		"i (would like|want|need) to [know (where|when) (it|the parcel) (is|will come|will arrive)]",
		"[(can|could) you check (where|when) (it|my parcel|the delivery) (is|comes)]?",
		"how [much longer (will|does) (it|the delivery) take]?",
		"[is (it|my parcel|the delivery) (still on the way|on its way)]?",
	}
	wantAddress = []string{
		"please [(send|ship|deliver) it to (my|our|the) (new|other|office|work|holiday) address]( instead|)",
		"(please|could you please|can you) [(change|update|correct) (the|my|our) (delivery address|shipping address|address)]",
		"(please|can you|could you) [(redirect|reroute) (it|the parcel|my parcel|the delivery)]( to my office| to {city}|)",
		"i [(would like|want|need) to change (the|my) (delivery address|address)]",
		"[the parcel (should|must|has to) go to (my|our|the) (new|office|work) address]",
		"can it [go to (another|a different|my new|my work) address]?",
		"(please|kindly) [(use|take) (my|our|the) (new|other|office) address]( for it| from now on|)",
		"(can|could) you [deliver it (to my neighbour|to my office|to the pick-up point|next door)]( instead|)?",
		"[please (note|enter|save) (my|our|the) new address]( before it is sent|)",
	}
	wantInvoice = []string{
		"(please|could you please|kindly) [(send|mail|email) me (the|my|a proper) (invoice|receipt|bill)]",
		"(can|could|may) (i|we) [(get|have) (the|a proper|a copy of the) (invoice|receipt|bill)]( for it|)?",
		"i [(need|would like|want) (the|a proper|a copy of the) (invoice|receipt|bill)]( for it|)",
		"(please|can you) [(issue|make out|write) (the|an) invoice]( in the name of my company|)",
		"[the (invoice|receipt) (should|must|has to) (show|name) (my company|our company|the vat)]",
		"where (can|do) i [(find|download) (the|my) (invoice|receipt)]?",
		"i am [still (missing|waiting for) (the|my) (invoice|receipt)]",
		"(please|could you) [send (the|my) (invoice|receipt) (by mail|again|as a pdf|to my accountant)]",
		"[there was no (invoice|receipt|bill) (in the box|with it)], (please send it|could i have it)",
	}
	wantHowto = []string{ // information from the technical team
		"[how do i (clean|store|adjust|look after) (it|the {p})]( properly|)?",
		"~[how do i (reset|set up|connect|open) (it|the {p})]( properly|)?",
		"[how is it (cleaned|adjusted|put together|stored)]( best|)?",
		"(please|could you|can you) [(explain|tell me|show me) how to (clean it|adjust it|put it together|take it apart)]",
		"~(please|could you|can you) [(explain|tell me|show me) how to (set it up|reset it|connect it)]",
		"[where (can|do) i find (the|a) (manual|instructions|user guide)]?",
		"(do you have|is there) [(a|the) manual (in english|as a pdf|online|to download)]?",
		"~[what does the (red|green|blue|orange) (light|symbol|button) mean]?",
		"[what does the (symbol|small print|sign) on the label mean]?",
		"[can it (be washed|be left outside|be taken apart)]?",
		"[can i (wash it|leave it outside|take it apart)]?",
		"[how often (should|must|do) i (clean|oil|air|check) it]?",
		"[what is the (small|second|round) (button|lever|knob|hook) for]?",
		"i cannot find out [how to (open|adjust|close|store) it]",
		"[which (cleaner|oil|spray) (is|would be) (right|safe) for it]?",
	}
	wantPresale = []string{ // information from sales
		"[is (it|the {p}|the {p} you show) (in stock|available|on sale)]( again| in {city}|)?",
		"[do you (have|sell|offer) it in (white|black|blue|red|green|grey)]?",
		"[how much (does it|does shipping|would delivery) (cost|come to)]?",
		"[will there be a (sale|discount|price cut)]( soon| on it|)?",
		"[what (sizes|colours) does it come in]?",
		"[how (heavy|big|wide|tall) is (it|the {p})]?",
		"[before i (buy|order) (it|one)]: (how long does the guarantee last|does it fit into a small room|what does it weigh|where is it made)?",
		"[how long is the guarantee]( on it|)?",
		"[does it come with (a guarantee|a bag|an adapter|spare parts)]?",
		"[do you (give|offer) (a|any) discount] (for two|to students|for schools)?",
		"[when will (it|the {p}) be (back in stock|available again)]?",
		"(please|could you) [send me an offer for (one|two|three|five)]",
	}
)

// How soon.
var (
	sayUrgent = []string{
		"i [need (it|this|this settled|an answer) (by|before|until) {w}]",
		"[(this|it) is (urgent|very urgent|really urgent|rather urgent)]",
		"please [(answer|reply|act|get back to me) as (soon|quickly) as possible]",
		"[(i need this|please answer|please act) asap]",
		"[(the birthday|the wedding|the party|our trip|the inspection|my exam) is (tomorrow|on {w}|this weekend|this week)]",
		"[(i|we) (leave|fly|move|travel) (tomorrow|on {w}|the day after tomorrow|this weekend)]",
		"it has to be [(sorted|settled|done) (by|before) (tomorrow|tonight|{w}|the weekend|the end of the week)]",
		"please [(see to it|take care of it|answer) (today|right away|at once|straight away|immediately)]",
		"i [cannot wait (any longer than|longer than|beyond) {w}]",
		"[(my|the) (deadline|last day) is (tomorrow|{w}|this {w})]",
		"i (must|have to) [have it within (24|48) hours]",
		"[time is (short|running out)]",
		"(the visitors|the guests|my parents) [(come|arrive) (tomorrow|on {w}|this weekend)] and it should be (settled|done) by then",
	}
	sayRelaxed = []string{
		"[there is no (rush|hurry)]( at all| from my side|)",
		"[no (rush|hurry)]( though| at all|)",
		"[(it|this) is not urgent]( at all|)",
		"[take your time]( with it| with the answer|)",
		"[(it|this|that) can wait]( a while| until after your holidays|)",
		"[whenever (you find|you have|someone has|someone finds) (the time|time|a minute)] is fine",
		"[i am (in no hurry|not in a hurry)]",
		"[(next month|some time next month|in a few weeks) is (fine|early enough|soon enough)]( for me|)",
		"[there is no need to hurry]",
		"[answer (whenever it suits you|when it suits you|at your leisure)]",
	}
)

// What a hasty reader would take for something else.
var (
	otherUrgency = []string{ // somebody else's, or long past
		"[last time it was urgent] and you were quick",
		"[your (advert|website|shop) promises (answers|delivery) (as soon as possible|within 24 hours|within 48 hours)]",
		"[my (neighbour|sister|colleague) needed (hers|one) (by|before) {w}] and got it",
		"in (spring|{month}) [i needed (something|an answer) (by|before) {w}] and that worked",
	}
	otherOrder = []string{
		"[my (earlier|other|last|previous) order {x} (was|came|arrived) (fine|on time|without problems|in one piece)]",
		"[order {x} (came|arrived|got here) (fine|on time|without problems|in one piece)]( by the way| though|)",
		"[(i do not mean|please do not mix it up with|this is not about) order {x}]( which is fine| from last year|)",
		"[with order {x} (everything was fine|there was no trouble|all went well)]",
	}
	otherNumber = []string{
		"my customer number is {x}",
		"(the|my) ticket number was {x}",
		"i already wrote under ticket {x}",
		"the serial number is {x}",
		"in your system i am customer {x}",
		"your colleague opened case {x} for me",
		"the serial number on the back is {x}",
	}
	otherProduct = []string{
		"[the {q} (i bought|we bought|i got) (from you last year|from you back then|before) (is great|is fine|still works|works perfectly)]",
		"[my (sister|neighbour|brother|colleague) (loves|is happy with) (her|his) {q}]",
		"[the {q} (from|in) the same (parcel|delivery|order) is (fine|great|perfect)]",
		"[i (also|already) have {aq} from you] and like it",
		"[i have no complaint about the {q}]( i got from you|)",
	}
	fallbackPhrases = map[string][]string{
		"refund":      {"[if (that|this) is not possible (a refund|my money back) (is|would be) (fine|ok) too]", "[failing that (i would|i will) take (a refund|my money back)]", "[only if that fails (a refund|my money back) would do]"},
		"replacement": {"[if (that|this) is not possible (a replacement|a new one) (is|would be) (fine|ok) too]", "[failing that (i would|i will) take (a replacement|a new one)]", "[only if that fails (a replacement|a new one) would do]"},
		"repair":      {"[if (that|this) is not possible a repair (is|would be) (fine|ok) too]", "[failing that (i would|i will) take a repair]", "[only if that fails a repair would do]"},
	}
	declinedPhrases = map[string][]string{
		"refund":      {"[i do not (want|need) (a refund|my money back)]", "[please no (refund|money back)]", "[a refund (is not what i want|does not help me|is no use to me)]"},
		"replacement": {"[i do not (want|need) (a replacement|a new one|another one)]", "[please no (replacement|new one)]", "[a (replacement|new one) (is not what i want|does not help me|is no use to me)]"},
		"repair":      {"[i do not (want|need) (a repair|it repaired|it fixed)]", "[please no repair]", "[a repair (is not what i want|does not help me|is no use to me)]"},
	}
	historyPhrases = map[string][]string{
		"refund":      {"(last year|back in {month}|some time ago) [you refunded me for {aq}]( without any fuss| within days|)"},
		"replacement": {"(last year|back in {month}|some time ago) [you (replaced|exchanged) {aq} for me]( without any fuss| within days|)"},
		"repair":      {"(last year|back in {month}|some time ago) [you (repaired|fixed) {aq} for me]( without any fuss| within days|)"},
	}
)

// Where the order number stands.
var (
	orderMentions = []string{
		"my order number is {n}",
		"the order number is {n}",
		"order number: {n}",
		"order no. {n}",
		"order #{n}",
		"(it was|it is|that was) order {n}",
		"this is about order {n}",
		"the confirmation says order {n}",
		"you will find it under order {n}",
		"my order (#{n}|no. {n}|{n}) is (paid|in your system)",
		"the number of (my|the) order is {n}",
	}
	orderAside = []string{` \(order {n}\)`, ", order {n}", ` \(order no. {n}\)`, " - order number {n}", ` \(order #{n}\)`, " under order number {n}", ` \(my order: {n}\)`}
	orderFixed = []string{ // wrong first
		"my order number is {x}, (sorry|no wait|oops), [i (mean|meant) {n}]",
		"order {x}, (sorry|pardon), [(it should be|that should read|make that) {n}]",
		"the order number is {x} - (sorry|no), [i (mistyped|misread) that it is {n}]",
	}
	orderUnknown = []string{
		"i do not have the order number at hand",
		"i cannot find my order number",
		"the confirmation mail is gone, so i have no order number",
		"sorry, i have no order number",
		"i deleted the mail with the order number",
		"",
		"",
		"",
		"",
	}
)

// What says nothing about the matter.
var (
	asides = []string{
		"i have been a customer since {year}",
		"i work (nights|shifts|on a farm), so (mornings are bad|evenings are best|calls are difficult)",
		"you can reach me on {phone}",
		"my number is {phone}",
		"it has been raining here in {city} all week",
		"the form on your site (did not load|lost what i typed|does not work)",
		"(two colleagues|a friend|my neighbour|my aunt) (told|advised) me to (write|write to you|ask you)",
		"this is (the second|the third|my second|my third) (mail|message|letter) about (this|it|the matter)",
		"your hotline kept me waiting for {few} minutes",
		"i spoke to a (Mr|Ms) {surname} on the phone",
		"we live in {city}, on the (third|fourth|fifth|top) floor",
		"i am (a teacher|a nurse|a student|retired|a baker|a bus driver) and not at home much",
		"your newsletter is nice, by the way",
		"my English is not (perfect|so good), (sorry|i hope you understand|please be patient)",
		"the questions on your site (did not help|were no help|do not cover this)",
		"the chat (on your site|window|robot) (told me to write here|sent me here|could not help)",
		"i am (normally|usually|otherwise) (very happy|quite happy|content) with (your shop|you)",
		"i (shop with you|come back) (only|mostly|) for the fair prices",
		"my husband says i worry too much",
		"(i typed this on|this comes from) the (train|tram|bus), so forgive (me|any mistakes|the mistakes)",
		"we have (two|three|four) (children and a dog|cats and a baby|small boys|teenagers at home)",
		"the weather (is|has been) awful (here|in {city}|this week)",
		"please (answer by mail|write back), i (do not like to phone|am hard to reach by phone|hate the phone)",
		"i found your address on (the internet|your site|a flyer)",
		"my (son|daughter|grandson) (helped me to write|typed) this",
		"i had hoped not to have to write",
		"i am in {city} until {month}",
		"we are a (small school|small office|choir|sports club) in {city}",
		"i asked in your shop in {city}, (but nobody knew|without success|to no avail)",
		"my phone is broken, so a mail is best",
		"i hope (this is|that this is|to have found) the right address",
		"i write to you for my (mother|father|aunt), who is {eighty}",
		"(last spring|some time ago) {name} sent me a nice answer",
		"sorry for the long text",
		"(i am on the bus|my lunch break is over|the battery is low), so this is short",
	}
	asidesBought = []string{ // of what is paid for
		"i paid {price} (with my card|by bank transfer|in advance)",
		"it was {price}, which is a lot for me",
		"i (bought|chose) it (for my mother|for my daughter|for the office|as a present|for our kitchen|for the new flat)",
		"i had read (good|nice|great) things about it (in a magazine|online|)",
		"i paid with (a gift card|my card|my husband's card)",
		"there was a coupon, so i paid only {price}",
		"my colleague {name} told me that it is good",
	}
	asidesOwned = []string{ // of what is in the house
		"the driver was friendly, by the way",
		"my cat has already moved into the box",
		"(photos|two pictures|a photo) (are|come) with this mail",
		"(the neighbours|a neighbour|my landlord) took the parcel in",
		"i still have the box and all the papers",
		"it stands next to the (window|door) in the (kitchen|hall|bedroom)",
		"your competitor could not help me either",
		"i followed the leaflet to the letter",
		"i had so looked forward to it",
		"the colour is lovely, i must say",
	}
	moodLines = []string{
		"i am very disappointed",
		"this is not acceptable",
		"what a mess",
		"i expected better from you",
		"i am quite upset about it",
		"honestly, i am annoyed",
		"i am sure it is just a mistake",
		"sorry (to bother you|for the trouble|to trouble you)( with this|)",
		"i know (that you are busy|you have a lot to do)",
		"it is a pity, since i like your shop",
		"how can that happen?",
		"i would have thought that you check such things",
		"no hard feelings",
		"please do not take it personally",
	}
	backTracking = []string{
		"the mail said that it would be here on {w}", "nothing has come so far", "the tracking page has not changed since {w}",
		"according to the app it left {city} on {w}", "it was supposed to take three days", "i stayed at home (all week|for days) to take it in",
		"the last message was that it is being prepared", "the site shows nothing but a grey bar",
	}
	backCancellation = []string{
		"i found one at a flea market", "i ordered it twice by mistake", "my (partner|wife|husband|brother) already bought one", "i changed my mind",
		"the colour does not suit us after all", "we are moving and have no room for it", "my boss did not approve it", "it was a slip of the finger",
	}
	backAddress = []string{
		"we moved {ago}", "i typed the old street by mistake", "the street number on the confirmation is wrong", "nobody is at home during the day",
		"we are moving to {city} this month", "the bell at the old flat does not work", "i am staying in {city} for some weeks", "your site filled in my old street by itself",
	}
	backInvoice = []string{
		"my accountant keeps asking", "it has to go into my tax papers", "our bookkeeping is strict", "there is none in my account on your site",
		"my company pays me back", "the guarantee asks for a proof", "i searched my mails twice", "the paper got wet and nobody can read it",
	}
	backHowto = []string{
		"the leaflet only shows pictures", "i lost the booklet", "the booklet is not in (English|my language)", "i am not very good with such things",
		"my old one was much simpler", "the video on your site did not help", "my daughter usually does this for me", "i do not want to do anything wrong",
	}
	backPresale = []string{
		"my kitchen is small", "it would be a present", "the reviews do not say much about that", "my old one is from {year}",
		"i compared five shops", "we do not have much room", "the page on your site does not say", "i saw it at a friend's place and liked it",
	}
)

// How tickets open and close. A mark |f is for formal letters, |c for chats.
var (
	greetings = []string{
		"Hi", "Hello", "Hi there", "Hello there", "Good morning", "Good afternoon", "Good evening", "Hey", "Hello team", "Dear team", "Dear support team",
		"Hi support", "Dear customer service", "Greetings", "Hallo", "Bonjour", "Hola", "Moin", "Ciao", "Dear {name}", "Hi {name}", "Good day", "Hey guys",
	}
	formalGreetings = []string{"Dear Sir or Madam", "To whom it may concern", "Dear Ladies and Gentlemen", "Dear Mr {surname}", "Dear Ms {surname}", "Dear customer service"}
	closings        = []string{
		"Thanks", "Thank you", "Thanks a lot", "Many thanks", "Best regards", "Kind regards", "Best wishes", "Cheers", "Best", "Thanks in advance", "Regards",
		"All the best", "Warm regards", "Bye", "Greetings from {city}", "Have a nice day", "Looking forward to hearing from you", "See you", "Grüße", "Merci", "Saludos",
	}
	formalClosings = []string{"Yours sincerely", "Yours faithfully", "With kind regards", "Respectfully", "Mit freundlichen Grüßen", "Cordialement"}
	afterwords     = []string{"Sent from my phone", `\(written on my phone\)`, "Sent from my tablet", "--\n{name} {surname}, {city}"}
)

// What fills the slots that mean nothing.
var (
	timesAgo = []string{
		"last week", "two weeks ago", "ten days ago", "a month ago", "a while ago", "the other day", "in {month}", "at the end of {month}", "three weeks ago",
		"some days ago", "recently", "about a fortnight ago", "early in {month}",
	}
	months     = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
	weekdays   = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	firstNames = []string{
		"Anna", "Ben", "Carla", "David", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Liam", "Mira", "Noah", "Olga", "Pavel", "Rosa", "Samuel",
		"Tanja", "Umut", "Vera", "Wei", "Yara", "Zoe", "Aisha", "Bruno", "Chloe", "Dmitri", "Emil", "Fatima", "Gabor", "Hanna", "Ivan", "Jana", "Kofi", "Lena",
		"Marek", "Nadia", "Oscar", "Priya", "Quentin", "Rahul", "Sofia", "Tom", "Ursula", "Viktor", "Wanda", "Yusuf", "Agnes", "Lucas", "Meera", "Nils", "Paula", "Ravi",
	}
	lastNames = []string{
		"Abel", "Becker", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Haddad", "Ito", "Jensen", "Kaya", "Larsen", "Moreau", "Novak", "Okafor", "Petrov",
		"Quinn", "Rossi", "Silva", "Tanaka", "Ueda", "Varga", "Weber", "Yilmaz", "Zhang", "Brown", "Carter", "Doyle", "Ekström", "Fuchs", "Grant", "Hughes",
	}
	towns = []string{
		"Bern", "Porto", "Leeds", "Lyon", "Graz", "Ghent", "Turin", "Cork", "Malmö", "Bremen", "Seville", "Gdansk", "Utrecht", "Bath", "Basel", "Split", "Tartu",
		"Aarhus", "Nantes", "Dundee", "Linz", "Brno", "Parma", "Kassel", "Exeter", "Bergen",
	}
	smallNumbers = []string{"two", "three", "four", "ten", "twenty", "thirty"}
)

// contractions are said either way; the reader knows them as written out. Those
// marked are only read: "could i have" has no short form.
var contractions = []struct {
	long, short string
	onlyRead    bool
}{
	{"do not", "don't", false}, {"does not", "doesn't", false}, {"did not", "didn't", false}, {"is not", "isn't", false}, {"will not", "won't", false},
	{"it is", "it's", false}, {"i am", "I'm", false}, {"i would", "I'd", false}, {"i will", "I'll", false}, {"that is", "that's", false},
	{"there is", "there's", false}, {"what is", "what's", false}, {"where is", "where's", false}, {"we are", "we're", false},
	{"cannot", "can't", false}, {"would not", "wouldn't", false}, {"has not", "hasn't", false}, {"was not", "wasn't", false},
	{"i have", "I've", true}, {"we have", "we've", true}, {"you have", "you've", true}, {"could not", "couldn't", true}, {"have not", "haven't", true},
	{"are not", "aren't", true}, {"you are", "you're", true}, {"should not", "shouldn't", true},
}
