"""The report: one HTML file that holds everything and loads nothing."""

from pathlib import Path

from healthygan.common.files import write_text
from healthygan.evaluation.report import charts, numbers, pictures
from healthygan.evaluation.report.markup import safe
from healthygan.evaluation.result import Evaluation

DISCLAIMER = "HealthyGAN is research software. It is not a medical device and must not guide the care of a patient."


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write one HTML file that holds everything and loads nothing, for screens from a phone's up.

    Raises:
        InputError: the file cannot be written.
    """
    sections = (
        numbers.headline,
        numbers.metrics,
        numbers.controls,
        charts.scores,
        pictures.pictures,
        charts.selection,
        charts.training,
        numbers.settings,
    )
    body = "".join(section(evaluation) for section in sections)
    # The policy forbids the page to load or run anything, whatever a file name may contain.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    write_text(
        path,
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{safe(evaluation.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}</main>
<footer>{DISCLAIMER}</footer>
</body>
</html>
""",
    )


STYLE = """
:root { --page:#f3f5f8; --card:#fff; --ink:#1b2430; --soft:#566273; --line:#dbe1e8; --accent:#0072b2;
  --alert:#fff4e5; --alert-line:#d55e00; }
@media (prefers-color-scheme: dark) { :root { --page:#0d1117; --card:#161c24; --ink:#e4e9ef; --soft:#9aa6b4;
  --line:#2a333e; --accent:#56b4e9; --alert:#2a1e12; --alert-line:#f08a3c; } }
* { box-sizing:border-box; }
html { -webkit-text-size-adjust:100%; }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif; }
main, footer { max-width:1160px; margin:0 auto; padding:0 1rem; }
header { padding:1.5rem 0 .5rem; }
.kicker { margin:0; color:var(--soft); }
h1 { margin:0; font-size:1.75rem; line-height:1.2; overflow-wrap:anywhere; }
h2 { margin:0 0 .75rem; font-size:1.25rem; }
h3 { margin:2rem 0 0; font-size:1.05rem; }
h3 + p { margin:0 0 .75rem; color:var(--soft); }
section { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:1.25rem;
  margin:1rem 0; }
.alert { background:var(--alert); border-left:5px solid var(--alert-line); }
.alert h2 { font-size:1rem; margin:0 0 .25rem; }
.alert ul { margin:0; padding-left:1.2rem; }
.tiles { display:flex; flex-wrap:wrap; gap:1rem 2.5rem; margin:0; }
.tile dt { color:var(--soft); font-size:.9rem; }
.tile dd { margin:0; font-size:2.2rem; line-height:1.1; font-weight:650; font-variant-numeric:tabular-nums; }
.tile:first-child dd { color:var(--accent); }
small { display:block; font-size:.8rem; line-height:1.35; font-weight:400; color:var(--soft);
  margin-top:.2rem; }
.lead { margin:1rem 0 0; max-width:46rem; }
.note { color:var(--soft); font-size:.9rem; max-width:46rem; }
.scroll { overflow-x:auto; }
.beside { display:flex; flex-wrap:wrap; gap:1.25rem 2rem; align-items:flex-end; }
.beside > div { max-width:100%; }
thead small { max-width:11rem; }
table { border-collapse:collapse; font-variant-numeric:tabular-nums; }
th, td { padding:.45rem 1.5rem .45rem 0; border-bottom:1px solid var(--line); text-align:left;
  vertical-align:top; }
thead th { font-size:.9rem; }
tbody th { font-weight:400; }
th:last-child, td:last-child { padding-right:0; }
.own th, .own td { font-weight:650; }
.bar { width:9rem; min-width:4rem; vertical-align:middle; }
.bar span { display:block; height:.6rem; border-radius:3px; background:var(--soft); }
.own .bar span { background:var(--accent); }
.settings td, .settings th { overflow-wrap:anywhere; }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr)); gap:1.5rem; }
figure { margin:0; }
.charts figure { max-width:32rem; }
img { display:block; max-width:100%; height:auto; }
.charts img { width:100%; }
figcaption { color:var(--soft); font-size:.9rem; margin-top:.35rem; }
figcaption strong { color:var(--ink); }
.scale { display:flex; align-items:center; gap:.6rem; font-size:.9rem; font-variant-numeric:tabular-nums; }
.scale span { white-space:nowrap; }
.scale img { width:12rem; min-width:4rem; height:.9rem; border-radius:3px; }
.cards { display:grid; gap:1rem; }
.card { background:#000; color:#e8edf2; border-radius:10px; padding:.75rem; }
.card h4 { margin:0; font-size:.95rem; display:flex; flex-wrap:wrap; gap:.25rem .6rem; align-items:center;
  overflow-wrap:anywhere; }
.card p { margin:.1rem 0 .6rem; font-size:.9rem; color:#a9b4c0; overflow-wrap:anywhere; }
.badge { font-size:.75rem; font-weight:600; padding:.1rem .5rem; border-radius:99px; border:1px solid #56b4e9;
  color:#8fd0f5; }
.badge.missed, .badge.false-alarm { border-color:#f08a3c; color:#f9b57f; }
.panels { display:grid; grid-template-columns:repeat(4,minmax(0,1fr)); gap:.5rem; }
.panels img { width:100%; outline:1px solid #2a333e; }
.panels figcaption { color:#a9b4c0; font-size:.8rem; }
footer { padding-top:.5rem; padding-bottom:2.5rem; color:var(--soft); font-size:.9rem; }
@media (max-width:640px) {
  section { padding:1rem; }
  .panels { grid-template-columns:repeat(2,minmax(0,1fr)); }
  .bar { display:none; }
  th, td { padding-right:.9rem; }
}
@media print { body { background:#fff; } section, .card { break-inside:avoid; } }
"""
