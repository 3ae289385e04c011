// Package detect says which accounts of an API, and which groups of accounts,
// harvest a model: each with an error rate that holds, and the innocent
// explanations beside it.
//
//	Event         one served exchange, as far as it is looked at
//	Detector      one pass over events; at most 4 KiB of state an account
//	Calibrate     what ordinary accounts score, at equal age and of like use
//	Report        e-values, reasons, explanations; a ranking where that is all
//
// An account is measured by sketches and sums: how far its prompts are filled-in
// scaffolds that few others have, how widely they sweep, whether reasoning is
// elicited, whether parameters are those of making a dataset, whether answers could
// have been read, and how far all of it lies from ordinary use by a kernel two-sample
// statistic with random features. A model makes one score of them, trained on accounts of
// its own; the score gives one conformal p-value a look (25, 50, 100, …
// exchanges), and the looks one e-value that never falls. So whatever the model is
// worth, the error rate is that of the calibration.
//
// What an account is called, where it is and in which language it speaks is no
// input: Event has no field for the former, and texts are looked at for their form
// and for which words are the same, never for which words they are.
//
// It does not know what an exchange cost, and it takes no action.
package detect
