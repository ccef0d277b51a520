// The style sheet of a report: light and dark by the reader's system, white on paper.
#pragma once

namespace sdpipe {

inline constexpr const char* report_style = R"css(
:root{color-scheme:light dark;--paper:#fff;--ink:#1d232b;--soft:#5b6572;--rule:#dde2e8;--raised:#f5f7f9;--accent:#0b6bcb;--note:#fff7e0;--note-rule:#d99a1c}
@media screen and (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e4e8ee;--soft:#a3adba;--rule:#333b46;--raised:#1c2229;--accent:#6cb2ff;--note:#2b2414;--note-rule:#c8922a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2.5rem 1.5rem 4rem;max-width:62rem;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:2rem;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.35rem;line-height:1.3;margin:3rem 0 .8rem;padding-top:.8rem;border-top:1px solid var(--rule)}
h3{font-size:1.05rem;margin:1.8rem 0 .5rem}
p{margin:.6rem 0;max-width:44rem;overflow-wrap:anywhere}
.subtitle,figcaption,thead th,.strips th{color:var(--soft)}
.subtitle{margin:.3rem 0 0}
nav{margin:1.6rem 0 0;padding:.8rem 1.2rem;background:var(--raised);border-radius:.5rem;font-size:.95rem}
nav ul{margin:0;padding:0;list-style:none;columns:15rem;column-gap:2rem}
nav li{break-inside:avoid}
nav .sub{padding-left:1.1rem;font-size:.9rem}
a{color:var(--accent);text-decoration:none}
a:hover{text-decoration:underline}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
.data th,.data td{padding:.32rem 1.4rem .32rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
.data th{font-weight:600}
.data .number{text-align:right}
.pairs th{font-weight:400;color:var(--soft);white-space:nowrap}
.pairs td{overflow-wrap:anywhere}
figure{margin:1rem 0}
figcaption{font-size:.88rem;margin-top:.3rem}
img{display:block;image-rendering:pixelated;background:var(--raised)}
.grid{display:flex;flex-wrap:wrap;gap:.6rem}
.grid figure{margin:0}
.grid figcaption{font-size:.8rem;line-height:1.3;margin-top:.2rem;overflow-wrap:anywhere}
.strips th{font-weight:400;font-size:.82rem}
.strips thead th{padding:0 .1rem .3rem;text-align:center}
.strips tbody th{padding-right:.9rem;text-align:right;white-space:nowrap;position:sticky;left:0;background:var(--paper)}
.strips td{padding:2px}
.notice{margin:1rem 0;padding:.7rem 1.1rem;max-width:46rem;background:var(--note);border-left:4px solid var(--note-rule);border-radius:.25rem}
.notice p{margin:.15rem 0}
pre{margin:1rem 0;padding:.9rem 1.1rem;max-height:32rem;overflow:auto;background:var(--raised);border-radius:.5rem;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;tab-size:4}
@media print{
body{max-width:none;padding:0;font-size:10.5pt}
h2,h3{break-after:avoid}
figure,tr,.notice{break-inside:avoid}
.scroll{overflow:visible}
.strips img{width:calc(15cm / var(--columns));height:auto}
.strips tbody th{white-space:normal;position:static}
pre{max-height:none;white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--rule)}
a{color:inherit}
img,svg.plot,.notice{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
)css";

}  // namespace sdpipe
