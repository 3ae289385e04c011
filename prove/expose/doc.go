// Package expose tests whether a model's training depended on which of two answers a
// secret coin had served: the exposure test.
//
// Its null hypothesis: the suspect, the reference model and the queries put to them
// are independent of the coins, given the prompts, the unordered pairs of answers and
// other accounts' coins. Under it the coins are fair signs, so that the p-value of
// open weights is exact and the e-value of a text-only suspect holds however early one
// stops. A rejection shows dependence on what was served to the accounts in question.
// It does not show the route: resale, a published log, or a teacher that was itself
// retrained on logs would look the same. And it assumes an honest coin, which is why
// unrelated control models go through the same test and stand beside the suspect.
//
// The order is part of the test: the frame (which accounts, which window, how scored)
// is stated before anything is scored; scores are made with the coins sealed and are
// stated by their hash; then every coin of the frame is opened, once. Nothing is left
// out after a coin is known: coins that do not count are void by rules that do not
// look at them.
//
// The package scores models (in process, or through an exchange.Asker that it is
// handed), computes the statistics, and plans how many coins buy which power. It keeps
// no log (prove/commit) and writes no pack (prove/evidence).
package expose
