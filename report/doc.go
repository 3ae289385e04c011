// Package report is what a run or an investigation shows people: the live
// progress of its stages, a closing summary on one screen, and one HTML file
// without outside links. It reads results that other rooms have computed and
// computes none itself.
package report
