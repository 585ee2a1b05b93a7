// How the report looks. Both colour schemes keep a contrast of at least 4.5 for text.
#pragma once

namespace unstride {

inline constexpr const char *report_style = R"css(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b2127;--soft:#59636e;--line:#d9dee3;--band:#f4f6f8;--link:#1f5fa8;
--good:#17694a;--bad:#a1271f;--mark:#fff3cf;--c0:#2563a8;--c1:#b4540a;--c2:#1b7f5c;--c3:#8a3ea8;--c4:#a61e4d;--c5:#5c6770}
@media (prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e4e8ec;--soft:#9aa5b1;--line:#333b44;--band:#1c2228;
--link:#8fbcf5;--good:#6fd0a4;--bad:#f2938a;--mark:#4a3f16;--c0:#7db3f0;--c1:#f0a35e;--c2:#5ecfa5;--c3:#cf9be8;--c4:#f28bb0;--c5:#a9b4be}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,nav,footer{max-width:1200px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:27px;line-height:1.2;margin:0 0 6px;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
.lead{color:var(--soft);margin:0 0 20px;max-width:75ch;overflow-wrap:anywhere}
h2{font-size:19px;margin:0 0 10px;padding-top:30px;font-weight:650}
h3{font-size:15px;margin:22px 0 8px;font-weight:650;overflow-wrap:anywhere}
h2 .no{display:inline-block;min-width:1.6em;color:var(--soft);font-weight:400}
section{border-top:1px solid var(--line);margin-top:34px}
p{margin:0 0 12px;max-width:75ch}
a{color:var(--link)}
nav ol{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;margin:22px 0 0;padding:0;font-size:13.5px}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
nav .no{color:var(--soft);margin-right:5px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(250px,100%),1fr));gap:12px;margin:0 0 14px;padding:0;list-style:none}
.cards li{border:1px solid var(--line);border-radius:6px;padding:12px 15px;overflow-wrap:anywhere}
.cards .name{font-size:13px;color:var(--soft)}
.cards .big{font-size:25px;font-weight:650;line-height:1.35;font-variant-numeric:tabular-nums}
.cards .big small{font-size:13px;font-weight:400;color:var(--soft)}
.cards .more{font-size:13px;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;margin:0 0 14px}
.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;color:var(--soft)}
thead th{border-bottom:1.5px solid var(--soft);vertical-align:bottom}
tbody th{color:var(--ink);max-width:290px;white-space:normal;overflow-wrap:anywhere;min-width:120px}
tbody th small{display:block;color:var(--soft);font-weight:400}
td.n,th.n,.figures td,.figures th[data-json]{text-align:right}
.figures tbody th{font-weight:400}.figures thead th{white-space:normal;min-width:72px}
td.wrap{white-space:normal;min-width:240px;max-width:560px;overflow-wrap:anywhere}
tfoot td,tfoot th{border-bottom:0;border-top:1.5px solid var(--soft);color:var(--ink)}
.matrix td{padding-right:22px;line-height:1.45}
.matrix strong{font-weight:600;font-size:14px}
.matrix .best strong{border-bottom:2px solid currentColor}
.none,.soft,.matrix small{color:var(--soft)}
.faster{color:var(--good)}.slower,.failed{color:var(--bad)}
.verdict{white-space:nowrap;font-weight:600}
mark{background:var(--mark);color:inherit;padding:0 3px;border-radius:2px}
dl{display:grid;grid-template-columns:minmax(120px,max-content) minmax(0,1fr);gap:3px 20px;margin:0 0 16px;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:12.5px}
pre{margin:0 0 12px;padding:10px 12px;background:var(--band);border-radius:5px;overflow-x:auto;line-height:1.45;tab-size:8}
code{overflow-wrap:anywhere}
.absent{color:var(--soft);border-left:3px solid var(--line);padding-left:12px}
.warning{border-left:3px solid var(--bad);padding:2px 0 2px 12px;max-width:none}
figure{margin:0 0 20px}figcaption{font-size:13px;color:var(--soft);max-width:90ch}
details{border-bottom:1px solid var(--line);padding:5px 0}
summary{cursor:pointer;font-size:14px;overflow-wrap:anywhere}
summary:hover{color:var(--link)}
details[open]>summary{margin-bottom:10px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;padding:0;margin:0 0 6px;font-size:13px}
.legend svg{vertical-align:-2px;margin-right:6px}
.side{display:flex;gap:18px;align-items:flex-start}
.side>div{flex:0 0 auto;width:400px;max-width:86vw}
.side pre{max-height:440px;overflow:auto}
svg{display:block;max-width:none}svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}
.legend svg{display:inline-block}
svg .soft{fill:var(--soft)}svg .end{text-anchor:end}svg .mid{text-anchor:middle}svg .strong{font-weight:650}
svg .small{font-size:11px;fill:var(--soft)}svg .smallend{font-size:11px;fill:var(--soft);text-anchor:end}
svg .smallmid{font-size:11px;fill:var(--soft);text-anchor:middle}
.grid{stroke:var(--line);fill:none}.axis{stroke:var(--soft);fill:none}
.one{stroke:var(--ink);fill:none}.zone{fill:var(--band)}.roof{stroke:var(--ink);stroke-width:1.5;fill:none}
.dash{stroke:var(--soft);stroke-dasharray:4 3;fill:none}.fail{stroke:var(--bad);fill:none}
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}.s4{--c:var(--c4)}.s5{--c:var(--c5)}
.mark{fill:var(--c);stroke:var(--paper);stroke-width:.8}
.whisker,.trace{stroke:var(--c);stroke-width:1.5;fill:none}
.dots{stroke:var(--c);stroke-width:3.4;stroke-linecap:round;fill:none;opacity:.4}
.minima{stroke:var(--c);stroke-width:6;stroke-linecap:round;fill:none}
.range{fill:var(--c);opacity:.16}
.strand{stroke:var(--c);fill:none;opacity:.5}
footer{margin-top:40px;padding-bottom:40px;color:var(--soft);font-size:13px}
@media print{nav{display:none}.scroll{overflow:visible}}
)css";

} // namespace unstride
