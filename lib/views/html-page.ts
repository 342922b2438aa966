// What is the same in every page of list-iommu --format html.

export const PAGE_STYLE = `
:root{--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#151b23}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:1rem;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:0 0 .4rem}
header p,footer{color:var(--soft);margin:.3rem 0 .8rem}
input{width:100%;padding:.5rem .7rem;font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:6px}
section{margin:1rem 0;padding:.7rem .9rem;background:var(--card);border:1px solid var(--line);border-radius:8px;overflow-x:auto}
ul{margin:0;padding:0;list-style:none}li{padding:.15rem 0}
table{border-collapse:collapse;width:100%;min-width:60rem;table-layout:fixed}
th:nth-child(1){width:8.5rem}th:nth-child(2){width:15rem}th:nth-child(4){width:7rem}th:nth-child(5){width:10rem}th:nth-child(n+6){width:6rem}
th{text-align:left;font-weight:normal;font-size:.8rem;color:var(--soft)}
th,td{padding:.2rem .8rem .2rem 0;vertical-align:top}
td{border-top:1px solid var(--line)}
.address,.id,code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.9em;white-space:nowrap}
.address{font-weight:bold}.bridge{color:var(--soft)}.bridge .address{font-weight:normal}
.pill{display:inline-block;padding:0 .55em;border:1px solid var(--line);border-radius:1em;font-size:.85em;white-space:nowrap}
.bound,.good,.ok{background:#1a7f37;border-color:#1a7f37;color:#fff}
.boot,.quirk{background:#ffd33d;border-color:#ffd33d;color:#1f2328}
.failed,.none{background:#cf222e;border-color:#cf222e;color:#fff}
.good{font-weight:normal}
[hidden]{display:none}`

/** Hides what has not all of the words that are typed; the words of a device are its row, and what names it besides. */
export const PAGE_SCRIPT = `
const search=document.getElementById('search'),none=document.getElementById('none')
search.addEventListener('input',()=>{
const words=search.value.toLowerCase().split(/\\s+/)
let any=false
for(const part of document.querySelectorAll('.group')){
let here=false
for(const row of part.querySelectorAll('tbody tr')){
const text=(row.textContent+' '+(row.dataset.words||'')).toLowerCase()
row.hidden=!words.every((word)=>text.includes(word))
here=here||!row.hidden
}
part.hidden=!here
any=any||here
}
none.hidden=any
})`
