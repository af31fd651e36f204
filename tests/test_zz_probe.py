import shutil
from pathlib import Path
import pytest, torch
from healthygan.cli import main
from healthygan.run import Run
def cases(run, manifest, so, tmp, cohort):
    def copy():
        p=tmp/"run"; shutil.copytree(run.path,p); return Run(p)
    new=["train",str(manifest),"--run",str(tmp/"new"),*so]
    img=str(cohort.images[0].path)
    def datajson():
        r=copy(); r.data.write_text("{"); return ["train","--resume",str(r.path)]
    def log():
        r=copy(); r.log.write_bytes(b"\xff,x\nabc"); torch.save(torch.load(r.checkpoint,weights_only=True),r.checkpoint); return ["train","--resume",str(r.path)]
    def log2():
        r=copy(); r.log.write_text("iteration\nabc\n"); return ["train","--resume",str(r.path)]
    def nan():
        r=copy(); w=torch.load(r.model,weights_only=True); torch.save({k:v*float("nan") for k,v in w.items()}, r.model); return ["score",str(r.path),img,"-o",str(tmp/"o")]
    def nanev():
        r=copy(); w=torch.load(r.model,weights_only=True); torch.save({k:v*float("nan") for k,v in w.items()}, r.model); return ["evaluate",str(r.path),"-o",str(tmp/"o")]
    def blackmask():
        from PIL import Image
        rows=["path,split,label,mask"]
        Image.new("L",(16,16)).save(tmp/"m.png")
        for im in cohort.images:
            if im.split=="test": rows.append(f"{im.path},test,{im.label},{tmp/'m.png' if im.mask else ''}")
        (tmp/"c.csv").write_text("\n".join(rows)+"\n")
        return ["evaluate",str(run.path),str(tmp/"c.csv"),"-o",str(tmp/"o")]
    def diseasedonly():
        rows=["path,split,label,mask"]
        for im in cohort.images:
            if im.split=="test" and im.mask: rows.append(f"{im.path},test,{im.label},{im.mask}")
        (tmp/"c.csv").write_text("\n".join(rows)+"\n")
        return ["evaluate",str(run.path),str(tmp/"c.csv"),"-o",str(tmp/"o")]
    def decbytes():
        r=copy(); r.decision.write_bytes(b"\xff\xfe"); return ["score",str(r.path),img,"-o",str(tmp/"o")]
    def partialbad():
        o=tmp/"o"
        main(["score",str(run.path),img,"-o",str(o)])
        (o/"scores.partial.csv").write_text("a,b,c\nd,0,1\ne,0,1\n"); return ["score",str(run.path),img,"-o",str(o)]
    def nocand():
        r=copy(); shutil.rmtree(r.path/"candidates"); return ["train","--resume",str(r.path)]
    def ckptneg():
        r=copy(); s=torch.load(r.checkpoint,weights_only=True); s["random"]=[1]; torch.save(s,r.checkpoint); return ["train","--resume",str(r.path)]
    def ckptmodlist():
        r=copy(); s=torch.load(r.checkpoint,weights_only=True); s["modules"]=[1]; torch.save(s,r.checkpoint); return ["train","--resume",str(r.path)]
    def ckptattr():
        r=copy(); s=torch.load(r.checkpoint,weights_only=True); s["modules"]={"generator":3,"discriminator":4}; torch.save(s,r.checkpoint); return ["train","--resume",str(r.path)]
    def smallimg():
        from PIL import Image; import numpy as np
        Image.fromarray(np.array([[1,200]],np.uint8)).save(tmp/"t.png"); return ["score",str(run.path),str(tmp/"t.png"),"-o",str(tmp/"o")]
    def csvpile():
        (tmp/"c.csv").write_text("path,split\n"); return ["score",str(run.path),str(tmp/"c.csv"),"-o",str(tmp/"o")]
    def rungone():
        return ["evaluate",str(tmp/"nope")]
    return dict(datajson=datajson,log=log,log2=log2,nan=nan,nanev=nanev,blackmask=blackmask,diseasedonly=diseasedonly,decbytes=decbytes,partialbad=partialbad,nocand=nocand,ckptneg=ckptneg,ckptmodlist=ckptmodlist,ckptattr=ckptattr,smallimg=smallimg,csvpile=csvpile,rungone=rungone,
      mps=lambda:["score",str(run.path),img,"-o",str(tmp/"o"),"--device","mps"],
      prec=lambda:[*new,"--set","training.precision=32"],
      disc=lambda:[*new,"--set","detector.discriminator_blocks=5"],
      bf=lambda:[*new,"--set","training.precision=bf16"],
      nansetting=lambda:[*new,"--set","detector.learning_rate=.nan"],
      lrhuge=lambda:[*new,"--set","detector.learning_rate=1e30"],
      fullhold=lambda:[*new,"--set","a..b=1"], eq=lambda:[*new,"--set","=1"], setdot=lambda:[*new,"--set","training.seed.x=1"],
      dataset_dir=lambda:[*new,"--config",str(tmp)], csvdir=lambda:["inspect",str(tmp/"x.csv")],
      scoredirimg=lambda:["score",str(run.path),str(manifest),"-o",str(run.path)],
    )
NAMES="datajson log log2 nan nanev blackmask diseasedonly decbytes partialbad nocand ckptneg ckptmodlist ckptattr smallimg csvpile rungone mps prec disc bf nansetting lrhuge fullhold eq setdot dataset_dir csvdir".split()
@pytest.mark.parametrize("n",NAMES)
def test_p(n,finished_run,manifest,set_options,tmp_path,capfd):
    run,cohort=finished_run
    try:
        a=cases(run,manifest,set_options,tmp_path,cohort)[n]()
        code=main(a)
        err=capfd.readouterr().err.strip().splitlines()
        out=f"{n}: {code} {err[-1] if err else ''}"
    except BaseException as e:
        out=f"{n}: LEAK {type(e).__name__} {str(e)[:200]}"
    open("/tmp/probe.out","a").write(out+"\n")
