"""The style sheet of a report: calm on a screen, readable on A4 paper."""

from __future__ import annotations

from typing import Final

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""What a browser may load for the page: nothing. Scripts don't run either."""

STYLE: Final = """
:root { color-scheme: light; --ink: #22262b; --soft: #5a616a; --line: #d5d8dc; --fill: #f4f5f6;
  --good: #1d6b4f; --bad: #9c2f0c; }
* { box-sizing: border-box; }
html { font: 15px/1.5 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans",
  sans-serif; color: var(--ink); background: #fff; -webkit-print-color-adjust: exact;
  print-color-adjust: exact; }
body { max-width: 54rem; margin: 0 auto; padding: 2.2rem 1.4rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .35rem; font-weight: 650; }
h2 { font-size: 1.22rem; margin: 2.6rem 0 .5rem; padding-top: .7rem; font-weight: 650;
  border-top: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; font-weight: 650; }
p, ol, ul { margin: .4rem 0 .8rem; max-width: 46rem; }
li { margin: .25rem 0; }
a { color: inherit; text-underline-offset: 2px; }
.soft, figcaption, caption small { color: var(--soft); }
.facts { color: var(--soft); margin: 0 0 1.2rem; overflow-wrap: anywhere; }
.verdict { border-left: 5px solid var(--soft); background: var(--fill); padding: .7rem 1rem;
  margin: 1.2rem 0; }
.verdict p { margin: .15rem 0; }
.verdict.good { border-color: var(--good); }
.verdict.bad { border-color: var(--bad); }
.key { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.8rem, 1fr)); gap: .6rem;
  margin: 1.2rem 0; padding: 0; list-style: none; max-width: none; }
.key li { border: 1px solid var(--line); padding: .6rem .8rem; margin: 0; }
.key b { display: block; font-size: 1.45rem; font-weight: 600; line-height: 1.25; }
.key span { display: block; font-size: .82rem; color: var(--soft); line-height: 1.35; }
nav ol { columns: 2; column-gap: 2.5rem; padding-left: 1.3rem; font-size: .93rem; }
nav li { margin: 0; break-inside: avoid; }
.wide { overflow-x: auto; margin: .8rem 0 1.3rem; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; line-height: 1.35; }
caption { text-align: left; font-weight: 650; padding: 0 0 .3rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem .9rem .28rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
thead th { border-bottom: 1.5px solid var(--ink); font-weight: 600; vertical-align: bottom; }
td.num, th.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.long, th.long { overflow-wrap: anywhere; }
tbody th { font-weight: 400; min-width: 8rem; }
tr > :last-child { padding-right: 0; }
tr.sum td, tr.sum th { font-weight: 600; }
.passed { color: var(--good); font-weight: 600; }
.failed { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0 1.4rem; }
figcaption { font-size: .85rem; max-width: 46rem; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem; font-size: .82rem;
  color: var(--soft); overflow-wrap: anywhere; }
@page { size: A4; margin: 17mm 16mm 18mm; @bottom-right { content: counter(page) " / "
  counter(pages); font: 8pt Arial, sans-serif; color: #5a616a; } }
@media print {
  html { font-size: 9.2pt; }
  svg { width: 88%; }
  footer { break-before: avoid; margin-top: 1rem; }
  body { max-width: none; padding: 0; }
  nav { break-after: page; }
  h2, h3, caption { break-after: avoid; }
  figure, .verdict, .key, .example, tr { break-inside: avoid; }
  table.short { break-inside: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; }
}
"""
