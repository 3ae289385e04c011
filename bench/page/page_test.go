// Package page holds no code: its test opens a report in a real Chromium, in
// light and dark, wide and narrow. It runs where RETORT_CHROMIUM names the
// browser and RETORT_PAGE the page.
package page

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// look is what the page says of itself once it is drawn.
type look struct {
	Overflow   int     `json:"overflow"`   // pixels that the page is wider than the window
	Headline   string  `json:"headline"`   // the first heading
	Charts     int     `json:"charts"`     // drawn, with some height
	Background float64 `json:"background"` // brightness of the page, 0 to 1
	Ink        float64 `json:"ink"`        // brightness of the text
	Fetched    int     `json:"fetched"`    // resources that it asked for
}

const ask = `(() => {
  const bright = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number); return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255; };
  const body = getComputedStyle(document.body);
  return {
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    headline: document.querySelector('h1').textContent,
    charts: [...document.querySelectorAll('figure.chart svg')].filter(s => s.getBoundingClientRect().height > 40).length,
    background: bright(body.backgroundColor),
    ink: bright(body.color),
    fetched: performance.getEntriesByType('resource').length,
  };
})()`

func TestThePageReadsInEveryLight(t *testing.T) {
	browser, path := os.Getenv("RETORT_CHROMIUM"), os.Getenv("RETORT_PAGE")
	if browser == "" || path == "" {
		t.Skip("RETORT_CHROMIUM and RETORT_PAGE are not set: there is no browser to open a page in")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))...)
	defer stop()
	for _, width := range []int64{1280, 360} {
		for _, scheme := range []string{"light", "dark"} {
			t.Run(fmt.Sprintf("%s %d", scheme, width), func(t *testing.T) {
				open(t, alloc, path, width, scheme)
			})
		}
	}
}

func open(t *testing.T, alloc context.Context, path string, width int64, scheme string) {
	ctx, cancel := chromedp.NewContext(alloc)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	light := chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	})
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), light, chromedp.Navigate("file://"+path)); err != nil {
		t.Fatal(err)
	}
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[look](ask))
	if err != nil {
		t.Fatal(err)
	}
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(90))
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("RETORT_SHOTS"); dir != "" { // to be looked at by a person
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.jpg", scheme, width)), shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if seen.Overflow > 0 {
		t.Errorf("the page is %d pixels wider than the window of %d", seen.Overflow, width)
	}
	if seen.Headline == "" || seen.Charts < 2 {
		t.Errorf("headline %q and %d charts", seen.Headline, seen.Charts)
	}
	if dark := seen.Background < 0.2 && seen.Ink > 0.7; dark != (scheme == "dark") {
		t.Errorf("in %s the page has brightness %.2f and its text %.2f", scheme, seen.Background, seen.Ink)
	}
	if seen.Fetched > 0 {
		t.Errorf("the page fetches %d things from elsewhere", seen.Fetched)
	}
}
