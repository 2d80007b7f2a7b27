"""The style of a table's own page: readable, light and dark, nothing loaded from elsewhere."""

STYLE = """\
:root { color-scheme: light dark; --ink: #1b1b1f; --soft: #5f6068; --line: #d5d6db;
        --ground: #ffffff; --mark: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ec; --soft: #a3a4ad; --line: #3a3b42; --ground: #17181b; --mark: #8ab8f0; }
}
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: var(--ink);
       background: var(--ground); font: 15px/1.45 system-ui, sans-serif; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { padding: .2rem .7rem; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--line); color: var(--soft); font-weight: 500; }
tbody + tbody th[scope=rowgroup], tbody th[scope=rowgroup] { text-align: left; padding-top: .7rem; }
th[scope=row] { text-align: left; font-weight: 400; }
td, thead th + th { text-align: right; }
td a, th a { color: inherit; text-decoration: none; }
td a:hover, th a:hover, td a:focus, th a:focus { color: var(--mark); text-decoration: underline; }
tr.start, td.published, td.empty { color: var(--soft); }
.stale { font-style: italic; }
ul { padding-left: 1.2rem; color: var(--soft); }
ul.verdicts { color: var(--ink); }
details { margin: .3rem 0; }
details details { margin-left: 1rem; }
code { font-size: .92em; }
"""
